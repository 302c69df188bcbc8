"""`processor schema`: a module for each subcommand. Comparisons and generated code are in `avro/tools`."""

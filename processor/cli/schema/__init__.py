"""`processor schema`: a module a subcommand. What is compared and generated is in `avro/tools`."""

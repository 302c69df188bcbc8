"""The Avro code of `processor schema`: comparisons, generated classes, sample data. Consumers do not load it."""

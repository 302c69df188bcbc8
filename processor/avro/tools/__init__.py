"""What `processor schema` needs of Avro: comparisons, generated classes, sample data. No consumer loads it."""

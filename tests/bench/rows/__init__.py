"""The rows of the table, one family per file."""

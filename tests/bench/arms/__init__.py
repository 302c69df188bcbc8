"""The arms: one program per file, each run in its own process. The code that they share needs only Python."""

"""The arms: one program a file, each run in a process of its own. What they share needs nothing but Python."""

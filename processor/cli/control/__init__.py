"""`processor control`: commands to a running group."""

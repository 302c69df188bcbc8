"""`processor dlq`: dead letters listed, shown, replayed and discarded."""

"""`processor offsets`: shows and resets the committed offsets of a group."""

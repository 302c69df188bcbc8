"""`processor offsets`: what a group has committed, and resets of it."""

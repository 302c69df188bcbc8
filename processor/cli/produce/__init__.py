"""`processor produce`: tasks from JSON Lines, and what became of them."""

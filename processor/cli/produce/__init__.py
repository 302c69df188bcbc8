"""`processor produce`: sends tasks from JSON Lines, and reports the result."""

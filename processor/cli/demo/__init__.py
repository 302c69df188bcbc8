"""`processor demo`: its load, its handlers, its checks and its screen."""

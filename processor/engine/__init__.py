"""What decides: pure, single-threaded, no clock, no I/O. Time and jitter are arguments."""

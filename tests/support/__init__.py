"""Shared infrastructure of the tests: a real broker, a ledger outside the process, the command line as a child."""

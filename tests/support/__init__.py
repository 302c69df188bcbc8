"""What the tests stand on: a real broker, a ledger outside the process, and the command line as a child."""

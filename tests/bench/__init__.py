"""The benchmark: the same work for each arm on a real broker, against what the client alone hands over."""

"""The benchmark: every arm does the same work on a real broker, compared with what the Kafka client alone delivers."""

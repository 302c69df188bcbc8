"""Kafka in memory: topics, and one group. It keeps the promises of the runtime's ports, as `tests/ports` shows.
It does not speak Kafka's protocol.
"""

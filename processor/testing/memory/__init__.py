"""Kafka in memory: topics, and one group. It fulfils the contracts of the runtime's ports, as `tests/ports` verifies.
It does not speak Kafka's protocol.
"""

"""Consumers as processes: started, watched, replaced and stopped by a parent that has no Kafka client. What runs inside
a consumer's process belongs to `boot` and `runtime`.
"""

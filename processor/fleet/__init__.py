"""Consumers as processes: started, watched, replaced and stopped by a parent that holds no Kafka client. What a
consumer does inside its process is the business of `boot` and `runtime`.
"""

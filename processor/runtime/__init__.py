"""Carries out what the engine decides, with threads and a clock. It reaches Kafka and the codecs through the
protocols of `ports.py` only, and is composed in `consumer.py`.
"""

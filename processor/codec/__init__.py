"""Decodes record values into tasks and encodes results as values, with one module for each format. The Avro decoders
themselves are in `avro`, the Kafka clients in `kafka`.
"""

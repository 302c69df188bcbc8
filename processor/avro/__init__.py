"""Avro itself: schemas, decoding, resolution between schemas. The only importer of fastavro; it knows neither tasks
nor Kafka.
"""

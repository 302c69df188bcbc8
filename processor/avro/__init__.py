"""Avro itself: schemas, decoding, resolution between schemas. The only importer of fastavro. The code here depends on
neither tasks nor Kafka.
"""

"""The only importer of confluent_kafka: the ports of the runtime, administration, the dispatcher, the embedded
broker. A client's errors become the project's own here.
"""

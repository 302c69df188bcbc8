"""The heartbeats that a fleet writes every second, and the verdict of a probe on them. Neither uses the logs or a
broker.
"""

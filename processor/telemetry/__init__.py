"""The log events and the metrics, each defined once, and how both leave the process. Other folders decide when an event
occurs.
"""

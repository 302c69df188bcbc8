"""The schema registry over HTTP, and what is cached of it. The codecs see it through `codec/registry_port.py`."""

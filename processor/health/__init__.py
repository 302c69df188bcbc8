"""What a fleet writes about itself every second, and how a probe judges it. It knows nothing of logs and needs no
broker.
"""

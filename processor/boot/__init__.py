"""From APP and settings to a consumer that runs in this process: loading, composing, signals, stops. Fleets of several
processes are in `fleet`.
"""

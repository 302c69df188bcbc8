"""From APP and settings to a consumer that runs in this process: loading, composing, signals, stops. Several
processes are the business of `fleet`.
"""

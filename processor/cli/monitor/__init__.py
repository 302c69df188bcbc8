"""`processor monitor` and `processor report`: the logs that they read, and the display of the state from `observe` on a
terminal.
"""

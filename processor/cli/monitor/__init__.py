"""`processor monitor` and `processor report`: which logs are read, and how a terminal shows what `observe` makes of
them.
"""

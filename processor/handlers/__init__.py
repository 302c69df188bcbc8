"""The parts that an application registers: handlers by task name, the `Task` that they get, and the payload types they
declare. No module in this folder calls a handler.
"""

"""What an application registers: handlers by task name, the `Task` that they get, and the payload types that they
ask for. Nothing in here calls a handler.
"""

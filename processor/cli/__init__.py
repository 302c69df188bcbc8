"""The command line, a module or a folder a command; the only importer of Typer, Click and Rich. A command parses,
calls, and prints: what it does is elsewhere.
"""

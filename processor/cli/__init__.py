"""The command line, with a module or a folder for each command; the only importer of Typer, Click and Rich. A command
parses its options, calls other packages, and prints.
"""

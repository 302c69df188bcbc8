"""What an option is, and the sets of options that several commands share. An option that only `processor run` has
is a field of `Settings`; nothing in here knows Typer.
"""

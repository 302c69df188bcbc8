"""The definition of an option, and the sets of options that several commands share. An option that only
`processor run` has is a field of `Settings`. No module in this folder imports Typer.
"""

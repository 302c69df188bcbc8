"""What the operating commands decide: lag and verdicts, where a reset goes, which dead letters are meant. It asks no
broker and prints nothing.
"""

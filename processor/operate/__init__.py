"""The decisions of the operating commands: lag and verdicts, the target of a reset, the choice of dead letters. No
module here sends a request to a broker or prints.
"""

"""The state of a fleet, from its logs alone. The code here depends only on the events, and not on the program that
wrote them, which may run elsewhere.
"""

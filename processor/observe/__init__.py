"""The state of a fleet, from its logs alone. It reads events and knows nothing else of the program that wrote them,
which may run elsewhere.
"""

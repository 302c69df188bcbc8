"""Decisions from plain values: what may run next, what may be committed, what is fetched and admitted, what follows
from a failure. No clock, thread, random number, log or I/O; times and jitter are arguments.
"""

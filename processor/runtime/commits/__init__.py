"""Decides what is committed and when, and handles the group's answers. The desk knows what is settled
(`desk/commits.py`); the source sends commits to the group.
"""

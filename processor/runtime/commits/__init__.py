"""What is committed, when, and what the group has answered. The desk knows what is done (`desk/commits.py`); the
source sends commits to the group.
"""

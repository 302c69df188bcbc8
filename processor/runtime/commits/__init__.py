"""What is committed, when, and what the group has answered. The desk says what is done (`desk/commits.py`); how a
commit gets to the group is the source's business.
"""

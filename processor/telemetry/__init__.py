"""What is logged and measured, each event and metric written once, and how both leave the process. What happened is
decided elsewhere; this folder gives it its name and form.
"""

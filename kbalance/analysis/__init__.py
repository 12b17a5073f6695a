"""Thinking only: plans, identities, statistics, rules and advice, from values to values.

No sockets, clock, files or environment.
"""

"""HTTP/1.1 without and with a socket: the sans-IO core and one explicit connection on it.

No event loop, no clock, no policy: whoever drives a connection brings those.
"""

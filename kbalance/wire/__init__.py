"""HTTP/1.1, HTTP/2 and gRPC without a socket, and explicit connections on them.

No event loop, no clock, no policy: whoever drives a connection brings those.
"""

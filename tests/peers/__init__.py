"""Servers of HTTP/2 and gRPC that others wrote, each a context manager that gives its port; and grpcio's client."""

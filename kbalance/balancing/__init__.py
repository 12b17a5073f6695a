"""The reusable client side: which endpoint or connection is next, and httpx transports over kbalance's own connection.

What the probe measures as a cure is what users can ship.
"""

"""The httpx transport against stock httpx, and the policies, with plain values and real sockets."""

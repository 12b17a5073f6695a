"""HTTP/1.1 as bytes and on real sockets, with h11 and stock httpx as the judges."""

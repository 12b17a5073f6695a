"""kbalance tells why a Kubernetes Service's traffic is uneven, proves it, and proves the cure.

The rooms and who may import whom are drawn in CONTRIBUTING.md; this module holds the version alone, so that importing any
room costs nothing.
"""

__version__ = "0.1.0"

"""kube-proxy's rules in the real kernel, in a private network namespace, and what kbalance says of them.

Nothing here stands on `kbalance.testbed`: pods, client and rules are this folder's own, so that the two can
be compared.
"""

"""How fast kbalance is, beside hey, wrk and httpx on the same machine in the same minutes.

Only ratios are judged: nothing here is a test, and a target that is missed is a line in a table.
"""

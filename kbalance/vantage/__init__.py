"""Where traffic starts: the measurement of one vantage point, as a stream of records, here or in a Pod of the cluster.

It knows neither the Kubernetes API nor reports; what the records mean is for others to settle.
"""

"""An embedded cluster on loopback for the demo and the tests: pods, balancers and a Kubernetes API that answer with raw bytes
and JSON.

It stands on the model alone, so that it cannot share a mistake with the code it examines.
"""

"""The only room that knows the Kubernetes API: its objects become facts here.

No traffic to the target starts from here.
"""

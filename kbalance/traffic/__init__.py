"""The only room that opens sockets to the target: the client profiles and the driver that runs them.

It counts and times; it does not judge.
"""

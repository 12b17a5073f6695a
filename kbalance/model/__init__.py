"""The nouns, in pipeline order: target and facts, plan, observation, report; values only.

Nothing here does I/O, reads a clock or decides anything.
"""

"""The harness that measures accuracy: what it counts, and what it writes."""

"""API objects to facts, with plain values."""

"""Thinking, tested with plain values."""

"""Rollouts: in a compiled program, on the host, and recorded as demonstrations."""

"""Environments as pure functions, and bridges to Gymnasium, gymnax and brax."""

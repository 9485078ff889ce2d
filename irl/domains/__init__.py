"""Reasoning domains: problems with experts, answers and verifiers."""

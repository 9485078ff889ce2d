"""Tabular Markov decision processes, exact planning and inverse reinforcement learning."""

"""Classic inverse reinforcement learning and preference learning on Gymnasium and pure-JAX environments.

Contracts: environments/base.py (environments), agent.py (what learns by acting), rewards.py (learned rewards).
"""

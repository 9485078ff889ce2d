"""Imitation, inverse reinforcement learning and preference learning on control tasks."""

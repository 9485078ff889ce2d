"""Imitation, adversarial learning and preference learning on control environments."""

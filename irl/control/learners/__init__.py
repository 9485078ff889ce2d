"""Reinforcement learning: PPO, DQN, soft Q-learning and SAC."""

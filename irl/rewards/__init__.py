"""Scorers: prompts and answers to scores, for every kind of model folder."""

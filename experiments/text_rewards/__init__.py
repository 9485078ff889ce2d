"""Rewards of texts from preferences, labelled steps and claims."""

"""Countdown and the Game of 24."""

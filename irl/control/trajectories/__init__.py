"""Demonstrations as arrays, and the file formats that they are stored in."""

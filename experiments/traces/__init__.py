"""The stages of a run on reasoning traces."""

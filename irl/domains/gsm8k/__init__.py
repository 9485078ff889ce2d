"""Written calculations of word problems."""

"""Run folders, locks, the registry of config classes: what every kind of run shares."""

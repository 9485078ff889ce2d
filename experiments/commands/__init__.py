"""The commands of `traceward`, and the loading of models and candidate files for them."""

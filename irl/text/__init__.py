"""From text to arrays: tokenizers, chat templates, windows, packing."""

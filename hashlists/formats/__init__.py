"""Exchange formats in and out: one module per format, found through `registry`."""

"""The uploads of load tests: harmless files, and what is to be answered for each."""

"""Load tests, benchmarks and generators of harmless input."""

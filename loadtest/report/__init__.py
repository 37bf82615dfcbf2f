"""The results of a load test as pictures and as one page."""

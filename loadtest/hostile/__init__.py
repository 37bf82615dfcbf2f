"""Files made to do harm, sent to a running service: mutated ones of every format, and bombs."""

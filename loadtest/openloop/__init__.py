"""Open-loop load on a server: what `loadtest.run` is made of."""

"""From the bytes of an object to the answer: here, or at a server."""

"""The gRPC edge: servicers, validation, the one error -> status table, health.

A handler is three lines: check the request, call the core, convert the answer.
"""

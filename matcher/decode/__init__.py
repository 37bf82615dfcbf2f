"""Bytes in, fixed-size arrays or a reason out. The only part of Hashwarden that touches images.

`pool` is what the rest of the matcher talks to; `worker` is the only home of Pillow.
"""

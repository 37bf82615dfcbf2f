"""Decoders in processes that can do nothing but decode.

`pool` runs them, `forkserver` forks them, `worker` is what runs in them, `frames` is what crosses
between the two, and `confinement` is what the kernel lets them do.
"""

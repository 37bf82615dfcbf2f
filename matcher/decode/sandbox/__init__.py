"""Decoders in processes that can do nothing but decode.

In the parent `pool` answers for files, `seats` replaces workers, `connection` asks one of them, and
`forks` has them forked and ended. The other side is `forkserver`, `worker`, and `confinement`: what
the kernel lets a worker do. `orders` and `frames` are what crosses between the two. The parent
loads no codec.
"""

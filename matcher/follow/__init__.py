"""Joins catalog and index, and nothing else does: follows revisions, builds and swaps snapshots.

Each module is imported by its own name: the process that builds needs none of what follows, and is
started for every build.
"""

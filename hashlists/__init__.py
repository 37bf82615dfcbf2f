"""The list side of Hashwarden: files in, records, catalog, snapshot, files out.

Holds hashes and what their sources say of them; never imagery. Imports nothing of `matcher`.
"""

"""Encryption of what lies on disk: keys, and streams of authenticated chunks."""

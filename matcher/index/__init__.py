"""Finds every entry within a threshold: exact, immutable, mapped from a snapshot.

`match_index.MatchIndex` is what the rest of the matcher sees; `holder.Holder` keeps the current
one; `build.IndexBuilder` writes one into a snapshot. Judges nothing: that is `matcher.policy`.
"""

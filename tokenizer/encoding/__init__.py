"""Bytes in, ids out: the merge loop, the caches in front of it, and what has to be cut out of a text before."""

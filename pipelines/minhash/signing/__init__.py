"""Shingle hashes in, signatures out."""

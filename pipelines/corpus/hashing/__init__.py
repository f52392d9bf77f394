"""Texts of any length in, their 128-bit XXH3 hashes out, in compiled loops."""

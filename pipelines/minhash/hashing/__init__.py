"""Hashes of bytes inside of kernels: XXH64 and SHA-1."""

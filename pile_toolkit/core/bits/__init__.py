"""Loads, stores and counts of bits for the compiled kernels."""

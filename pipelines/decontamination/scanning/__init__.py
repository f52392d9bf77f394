"""Loops over words inside of kernels: the table of n-grams, and the scan of documents for them."""

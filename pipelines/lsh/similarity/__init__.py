"""Shingle sets compared."""

"""Thin Click commands: each parses, calls one library function and prints its result object."""

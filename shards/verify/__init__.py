"""A prefix in, what is wrong with its files out: index, every id, provenance, and what the manifest says of them."""

from __future__ import annotations

from shards.verify.checks import Problem, Verified, verify_shards

__all__ = ["Problem", "Verified", "verify_shards"]

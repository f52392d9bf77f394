"""Components in, keep-list and clusters out: exact and MinHash deduplication before the corpus is built."""

from pipelines.dedup.settings import DedupConfig
from pipelines.dedup.stage import ComponentDedup, DedupResult, dedup

__all__ = ["ComponentDedup", "DedupConfig", "DedupResult", "dedup"]

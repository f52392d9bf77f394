"""Token shards of other programs in, ours out, and back: Megatron, nanoGPT, dolma, Hugging Face, MDS, litdata."""

from __future__ import annotations

from shards.exchange.conversion import FORMATS, Exchanged, export_shards, import_shards

__all__ = ["FORMATS", "Exchanged", "export_shards", "import_shards"]

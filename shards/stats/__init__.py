"""A prefix in, what it holds out: `shard_stats` from the index alone, `study_shards` from every id."""

from __future__ import annotations

from shards.stats.counted import QUANTILES, ComponentStats, LengthBucket, ShardStats, shard_stats
from shards.stats.study import (
    ComponentEpochs,
    RunLength,
    ShardStudy,
    TokenRow,
    TokenUse,
    WhiteSpaceUse,
    study_shards,
)
from shards.stats.vocabulary import Vocabulary

__all__ = [
    "QUANTILES",
    "ComponentEpochs",
    "ComponentStats",
    "LengthBucket",
    "RunLength",
    "ShardStats",
    "ShardStudy",
    "TokenRow",
    "TokenUse",
    "Vocabulary",
    "WhiteSpaceUse",
    "shard_stats",
    "study_shards",
]

"""Components and plan in, what they hold out: sizes, lengths, tokens, languages, duplicates, compression."""

from __future__ import annotations

from pipelines.stats.results import GroupStatistics as GroupStatistics
from pipelines.stats.results import StatisticsResult as StatisticsResult
from pipelines.stats.stage import count_statistics as count_statistics

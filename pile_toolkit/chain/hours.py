"""A measured machine and the size of a run in, hours of each stage out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pile_toolkit.chain.calibration import Calibration

# What a further process adds to the first: of two, 1.6 to 2 times one was measured (docs/benchmarks.md).
SPEEDUP_PER_JOB = 0.85
# In one process, whatever --jobs: the plan; band hashes, buckets and clusters of 146 million documents took 135 s.
PLANNED_SECONDS_PER_DOCUMENT = 2e-6
CLUSTERED_SECONDS_PER_DOCUMENT = 1e-6
# Distinct words, and with them the time of merging, grow with this power of the text (Heaps' law).
WORDS_POWER = 0.7
_HOUR = 3600.0


def stage_hours(
    measured: Calibration,
    *,
    documents: int,
    text_bytes: int,
    copied_bytes: int,
    method: str,
    sample_bytes: int | None,
    jobs: int,
) -> dict[str, float]:
    """Hours of the stages of a run over so much text; `copied_bytes` is what is written as corpus files.

    `method` is a name of `calibration.method_name`, "none" for no deduplication; `sample_bytes` limits what a tokenizer
    is trained on. The network is not in it, nor a disk slower than the processors.
    """
    rate = measured.seconds_per_byte
    speedup = 1.0 + SPEEDUP_PER_JOB * (jobs - 1)
    trained_bytes = text_bytes if sample_bytes is None else min(text_bytes, sample_bytes)
    # Without deduplication documents are read and hashed all the same.
    seeking = rate[f"dedup, {'exact' if method == 'none' else method}"] * text_bytes / speedup
    clustering = CLUSTERED_SECONDS_PER_DOCUMENT * documents if "minhash" in method else 0.0
    merging = measured.merging_s * (trained_bytes / measured.sample_bytes) ** WORDS_POWER
    seconds = {
        "download": rate["download"] * text_bytes / speedup,
        "dedup": seeking + clustering,
        "plan": PLANNED_SECONDS_PER_DOCUMENT * documents,
        "corpus": rate["corpus"] * copied_bytes / speedup,
        "tokenizer": rate["tokenizer"] * trained_bytes / speedup + merging,
        "shards": rate["shards"] * text_bytes / speedup,
    }
    return {stage: taken / _HOUR for stage, taken in seconds.items()}

"""This machine in, how long each stage takes for a byte of text out: measured once, in half a minute, and kept.

The stages themselves run in this process on the built-in sample and on four times as much: what the second takes longer
is the time of the text, without that of starting. Kept in the user's cache folder per processor and version.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import psutil
import xxhash

from pile_toolkit import __version__
from pile_toolkit.core.caches import NAME, user_cache_folders
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import RECORD_LIMIT_BYTES, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pile_toolkit.core.console import Reporter

Calibrate = Literal["never", "once", "again"]
# Raised when what is measured changes: another measurement in the cache then means nothing.
FORMAT = 1
# The sample and three others that are made of it.
VARIANTS = 4
# No stage is taken to start for more than this part of its time on all variants.
STARTING_SHARE = 0.75
# Merging depends on the distinct words and not on the text: its time is what the larger vocabulary takes longer.
MERGING_VOCAB_SIZE = 50_257
COUNTING_VOCAB_SIZE = 400


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one process takes for a byte of text, per stage; `merging_s` is the tokenizer's on `sample_bytes`.

    `download` is the reading of what has come: nobody knows the network before.
    """

    format: int = FORMAT
    processor: str
    version: str
    sample_bytes: int
    seconds_per_byte: dict[str, float]
    merging_s: float


def calibration(when: Calibrate = "once", *, reporter: Reporter = SILENT) -> Calibration | None:
    """What was measured on this machine. Measures where nothing is kept ("once"), or in any case ("again").

    With "never" it is what is kept, and None where that is nothing.
    """
    path = _kept()
    if path is not None and path.exists() and when != "again":
        with contextlib.suppress(CorruptData, OSError):
            return read_json(path, Calibration, limit_bytes=RECORD_LIMIT_BYTES)
    if when == "never":
        return None
    reporter.say("measuring how fast this machine is, once: some 25 s")
    measured = measure()
    if path is not None:
        # A machine whose home cannot be written is measured every time.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, msgspec.json.format(msgspec.json.encode(measured), indent=2))
    return measured


def measure(slugs: Sequence[str] | None = None) -> Calibration:
    """Runs the stages on the sample, or on some components of it, in a temporary folder and in this process."""
    from pipelines.sample import SAMPLE_SLUGS

    slugs = SAMPLE_SLUGS if slugs is None else slugs
    with tempfile.TemporaryDirectory(prefix="pile-calibration-") as scratch:
        folder = Path(scratch)
        once_bytes, all_bytes = _write_sample(folder / "once", slugs, 1), _write_sample(folder / "all", slugs, VARIANTS)
        _timed_stages(folder / "warm-root", folder / "once", slugs[-2:])
        once = _timed_stages(folder / "once-root", folder / "once", slugs)
        every = _timed_stages(folder / "all-root", folder / "all", slugs)
    merging_s = max(every.pop("merging") - every["tokenizer"], 0.0)
    return Calibration(
        processor=processor(),
        version=__version__,
        sample_bytes=all_bytes,
        seconds_per_byte={
            stage: max(taken - once[stage], (1 - STARTING_SHARE) * taken) / (all_bytes - once_bytes)
            for stage, taken in every.items()
        },
        merging_s=merging_s,
    )


def method_name(method: str, verify: bool) -> str:
    """How the stage of deduplication is called in `Calibration.seconds_per_byte`."""
    return f"{method}, verified" if verify else method


def processor() -> str:
    """The model of the processor and how many there are."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {psutil.cpu_count() or os.cpu_count()} processors"


def _kept() -> Path | None:
    folders = user_cache_folders()
    if not folders:
        return None
    of = f"{FORMAT} {processor()} {__version__} {platform.python_version()}"
    return folders[0] / NAME / f"calibration-{xxhash.xxh3_64_hexdigest(of.encode())}.json"


def _write_sample(folder: Path, slugs: Sequence[str], variants: int) -> int:
    """The sample's components in so many files each; returns the bytes of their texts."""
    text_bytes = 0
    for slug in slugs:
        documents = _sample(slug)
        for variant in range(variants):
            with DocumentWriter(folder / slug / f"{variant}.jsonl.zst") as writer:
                for number, (text, meta) in enumerate(documents):
                    # Half of it from another document: a text of its own, and no near-duplicate of either.
                    other = documents[(number + variant) % len(documents)][0]
                    writer.write(text[: len(text) // 2] + other[len(other) // 2 :], meta)
            text_bytes += writer.text_bytes
    return text_bytes


@functools.cache
def _sample(slug: str) -> list[tuple[str, dict[str, Any]]]:
    from pipelines.sample import sample_documents

    return list(sample_documents(slug))


def _timed_stages(root: Path, source: Path, slugs: Sequence[str]) -> dict[str, float]:
    """Seconds of each stage on some components; every copy of a document counts once, so weights are 1."""
    from pile_toolkit.chain.stages import write_shards
    from pipelines.build import build
    from pipelines.corpus import write_corpus_files
    from pipelines.dedup import dedup
    from pipelines.download import download, present_slugs
    from tokenizer.stage import train_on_plan

    alone = {"jobs": 1, "scheduler": "serial"}
    seconds: dict[str, float] = {}

    def timed(stage: str, call: Callable[..., Any], **options: Any) -> None:
        # Of the processor: what else runs here now will not run all the while.
        started_s = time.process_time()
        call(root, **options, **alone)
        seconds[stage] = time.process_time() - started_s

    timed("download", download, components=slugs, source=str(source))
    for method, verify in (("minhash", True), ("minhash", False), ("exact", False)):
        # Fingerprints of one would be taken over by the next.
        shutil.rmtree(root / "dedup", ignore_errors=True)
        timed(f"dedup, {method_name(method, verify)}", dedup, method=method, verify=verify)
    weights = dict.fromkeys(present_slugs(root), 1.0)
    build(root, weights=weights, val_share=0.02, test_share=0.02, write_corpus=False)
    timed("corpus", write_corpus_files)
    timed("tokenizer", train_on_plan, vocab_size=COUNTING_VOCAB_SIZE)
    timed("merging", train_on_plan, vocab_size=MERGING_VOCAB_SIZE, allow_smaller=True)
    timed("shards", write_shards)
    return seconds

"""Steps in, `metrics.jsonl` out: one JSON object a line, the same bytes for the same training.

What a clock measures stands apart in `timings.jsonl`, so that two runs can be compared file by file.
"""

from __future__ import annotations

import errno
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash

from pile_toolkit.core.files import naming_full_disks, write_bytes
from pile_toolkit.core.held import refuse_if_displaced

if TYPE_CHECKING:
    from typing import BinaryIO

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"


class StepMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One update: mean loss in nats over its batch, gradient norm before clipping, tokens seen since the start."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int


class ValidationMetrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Mean loss in nats over the held-out tokens after `step` updates; bits per byte where the byte count is known."""

    step: int
    validation_loss: float
    validation_tokens: int
    validation_bits_per_byte: float | None = None


class MetricsLog:
    """Appends to the two files of a run; opening it for a resumed run drops every row after `step`."""

    def __init__(self, run: Path, *, step: int) -> None:
        for name in (METRICS, TIMINGS):
            _drop_rows_after(run / name, step)
        self._content = xxhash.xxh3_128(_rows_until(run / METRICS, step))
        self._metrics = (run / METRICS).open("ab", buffering=0)
        self._timings = (run / TIMINGS).open("ab", buffering=0)
        self._started_s = time.perf_counter()
        self._last_s = self._started_s

    def write(self, metrics: StepMetrics | ValidationMetrics) -> None:
        """One row, handed to the operating system at once: a killed process loses none."""
        # These files are appended to, so a run that lost its lease would write between the rows of its successor.
        refuse_if_displaced()
        row = msgspec.json.encode(metrics) + b"\n"
        self._content.update(row)
        _append(self._metrics, row)

    def write_timing(self, step: int, *, tokens: int) -> None:
        """How long the step of so many tokens took, counted from the row before."""
        now_s = time.perf_counter()
        row = {
            "step": step,
            "elapsed_s": round(now_s - self._started_s, 4),
            "tokens_per_s": round(tokens / (now_s - self._last_s), 1),
        }
        _append(self._timings, msgspec.json.encode(row) + b"\n")
        self._last_s = now_s

    def restart_clock(self) -> None:
        """The time since the last row, spent on validation or a checkpoint, does not count for the next step."""
        self._last_s = time.perf_counter()

    def sync(self) -> str:
        """Forces the rows to the disk and returns their hash, which the checkpoint holds.

        A checkpoint must not be ahead of its metrics after a power cut.
        """
        os.fsync(self._metrics.fileno())
        return self._content.hexdigest()

    def close(self) -> None:
        """Closes both files."""
        self._metrics.close()
        self._timings.close()


def _append(file: BinaryIO, row: bytes) -> None:
    with naming_full_disks(Path(file.name), needs_bytes=len(row)):
        # Unbuffered: what is left in a buffer by a full disk would be an error again when the file is closed.
        if file.write(row) < len(row):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics or timings file, up to the first line that is none: cut off, or torn by a power cut."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            row = msgspec.json.decode(line if line.endswith(b"\n") else b"", type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            break
        if not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


def metrics_hash(run: Path, *, step: int) -> str:
    """XXH3-128 of the rows up to `step`, as `MetricsLog.sync` returned it then."""
    return xxhash.xxh3_128_hexdigest(_rows_until(run / METRICS, step))


def last_step(run: Path) -> int:
    """The step of the last row, 0 where there is none."""
    return max((row["step"] for row in read_rows(run / METRICS)), default=0)


def median_tokens_per_s(run: Path) -> float:
    """Over all timed steps of the run, 0 where there are none."""
    rates = [row["tokens_per_s"] for row in read_rows(run / TIMINGS) if "tokens_per_s" in row]
    return statistics.median(rates) if rates else 0.0


def _rows_until(path: Path, step: int) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in read_rows(path) if row["step"] <= step)


def _drop_rows_after(path: Path, step: int) -> None:
    if path.exists():
        write_bytes(path, _rows_until(path, step))

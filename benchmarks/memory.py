"""Peak memory of every stage, each as a real `pile` process, on inputs 10 times apart, against the bound it states.

    python benchmarks/memory.py FOLDER [--jobs N] [--megabytes N] [--table FILE]

FOLDER holds `<slug>.jsonl.zst` per component. Of its text three pairs of inputs are made, the second of a pair ten
times the first:

- text: about N MB of its documents, taken evenly; past the last of them their copies, with the words in another order,
  which no deduplication takes for the same. What memory is needed per byte, or not.
- lines: 10,000 documents of a line or two each. What is needed per document, or not.
- long: a few documents, one of them of 1 MB. What is needed for the longest one.

A fourth shape needs nothing of FOLDER: index, 1 and 10 million sequences of drawn sizes (13.6 billion ids, of which the
disk holds none), whose sample index is built in all three orders, 1.5 passes at length 2048. Its bound is that of the
issue it was built for: three times the result, beside the process and the sizes and pointers that it reads.

Measured is the larger of two things: the sum, over the command and all processes below it, of the proportional set size
(`/proc/PID/smaps_rollup`: what is shared counts once), looked at 50 times a second; and the largest resident size that
any one of them ever had (`VmHWM`, which no look can miss). The bounds are those that `pile plan` prints
(`pile_toolkit/chain/memory.py`). Exits with 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import psutil

from pile_toolkit.chain.memory import TABLES_BYTES, MemoryInput, counted, memory_bounds
from pile_toolkit.core.documents import DocumentWriter, read_documents
from shards.format import data_path, index_path, write_index
from shards.writer import stored_pointers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIMES = 10
SHAPES = ("text", "lines", "long", "index")
LINES = 10_000
LONG_BYTES = 1e6
TRAIN_SHARDS = 4
SHARES = ("--val-share", "0.02", "--test-share", "0.02")
ORDERS = ("neox", "megatron", "stateless")
INDEXED, INDEXED_TOKENS, INDEXED_LENGTH = 1_000_000, 1_360_000_000, 2048
RESULTS = 3
SAMPLE_INTERVAL_S = 0.02
# Of a single command, which takes seconds: something hangs.
LONGEST_S = 600
MIB = 1 << 20
# Words keep the white space that follows them, so that lines and indents stay what they are in number.
_WORD = re.compile(r"\S+")


# All n-grams are looked at, and everything passes: the stages after it need documents.
LIMITS = ("top_ngrams=[[2,99],[3,99],[4,99]]", "duplicate_ngrams=[[5,99],[6,99],[7,99],[8,99],[9,99],[10,99]]")
SHARES_OF = ("lines", "paragraphs", "line_characters", "paragraph_characters")
LIMITS += tuple(f"max_duplicate_{what}_ratio=1" for what in SHARES_OF)
FILTERS = ("--filter", "length:min_words=1", "--filter", f"gopher_repetition:{','.join(LIMITS)}")
INDEX_COMMAND = ("shards", "index", "--length", "64", "--cache-dir", "{cache}")


class Stage(NamedTuple):
    """A row of the table: whose bound it has, and the folders it makes where it has workers (then it takes --jobs)."""

    name: str
    bound: str
    command: tuple[str, ...]
    made: tuple[str, ...] = ()


STAGES = (
    Stage("filtering", "download, filters", ("download", "--all", "--from", "{source}", *FILTERS), ("components",)),
    Stage("download", "download", ("download", "--all", "--from", "{source}"), ("components",)),
    Stage("dedup, against", "dedup, against", ("dedup", "--against", "{sets}"), ("dedup",)),
    Stage("dedup, minhash", "dedup, minhash", ("dedup", "--method", "minhash"), ("dedup",)),
    Stage("dedup, exact", "dedup, exact", ("dedup", "--method", "exact"), ("dedup",)),
    Stage("build, plan only", "plan", ("build", *SHARES, "--no-write-corpus")),
    Stage("build, corpus files", "corpus", ("build", *SHARES, "--train-shards", str(TRAIN_SHARDS)), ("corpus",)),
    Stage("tokenizer train", "tokenizer", ("tokenizer", "train", "--vocab-size", "{vocab_size}")),
    Stage("stats, encoding", "statistics", ("stats",), ("stats",)),
    Stage("shards write, copies", "materialize", ("shards", "write", "--materialize"), ("shards",)),
    Stage("shards write", "shards", ("shards", "write"), ("shards",)),
    Stage("stats, of shards", "statistics", ("stats",), ("stats",)),
    *(Stage(f"shards index, {order}", "index", (*INDEX_COMMAND, "--order", order)) for order in ORDERS),
    Stage("shards stats, 2 threads", "stats", ("shards", "stats", "--html", "{html}", "--jobs", "2")),
    Stage("shards verify, 2 threads", "shards verify", ("shards", "verify", "--jobs", "2")),
    Stage("shards mix", "mix", ("shards", "mix", "more", "--weights", "{weights}")),
    Stage("train, 5 steps", "train", ("train", "debug", "--steps", "5")),
    Stage("export", "export", ("export", "{root}/runs/debug", "{root}/exported")),
    Stage("report", "report", ("report",)),
    Stage("why", "why", ("why", "{document}")),
    Stage("verify", "verify", ("verify",)),
)


def main() -> int:
    """Runs all stages on both inputs and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds <slug>.jsonl.zst per component")
    parser.add_argument("--jobs", type=int, default=2, help="stages with workers run with 1 and with so many")
    parser.add_argument("--megabytes", type=float, default=6.0, help="text of the small input")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES, help="only these inputs")
    parser.add_argument(
        "--only", nargs="+", metavar="STAGE", help="names of stages begin so; each needs those before it"
    )
    parser.add_argument("--table", type=Path, help="write the table to this file too")
    arguments = parser.parse_args()
    stages = [stage for stage in STAGES if stage.name.startswith(tuple(arguments.only or [""]))]
    tables, all_held = [], True
    for shape in arguments.shapes:
        if shape == "index":
            table, held = measure_indexes()
            tables.append(table)
            all_held &= held
            continue
        inputs, peaks = [], []
        for times in (1, TIMES):
            with tempfile.TemporaryDirectory() as scratch:
                root, source = Path(scratch) / "root", Path(scratch) / "source"
                write_input(arguments.folder, source, shape, times, arguments.megabytes * 1e6)
                against_bytes = write_sets(source, source.with_name("sets"))
                peaks.append(run_all(root, source, shape, arguments.jobs, stages))
                work = counted(root, train_shards=TRAIN_SHARDS)
                inputs.append(msgspec.structs.replace(work, against_bytes=against_bytes))
        table, held = show(shape, inputs, peaks)
        tables.append(table)
        all_held &= held
    machine = f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    text = "\n\n".join([machine, *tables])
    print(text)
    if arguments.table:
        arguments.table.write_text(text + "\n", encoding="utf-8")
    return 0 if all_held else 1


# Inputs


def write_input(folder: Path, target: Path, shape: str, times: int, text_bytes: float) -> None:
    """`<slug>.jsonl.zst` per component of `folder` under `target`."""
    paths = sorted(folder.glob("*.jsonl.zst"))
    if not paths:
        raise SystemExit(f"{folder} holds no .jsonl.zst file")
    totals = {path: sum(len(document.text.encode()) for document in read_documents(path)) for path in paths}
    target.mkdir()
    for path, total in totals.items():
        share = total / sum(totals.values())
        with DocumentWriter(target / path.name) as writer:
            wanted_bytes, wanted_lines = text_bytes * times * share, LINES * times * share
            if shape == "lines":
                for text in itertools.islice(_lines(path, every=max(1, TIMES // times)), round(wanted_lines)):
                    writer.write(text, b"{}")
                continue
            if shape == "long":
                wanted_bytes = 2e6 * share
                if path == paths[0]:
                    writer.write(_long(paths, int(LONG_BYTES * times)), b"{}")
                    wanted_bytes += writer.text_bytes
            for text, meta in _documents(path, every=max(1, round(total / wanted_bytes))):
                writer.write(text, meta)
                if writer.text_bytes >= wanted_bytes:
                    break


def write_sets(source: Path, target: Path) -> int:
    """Every 50th document of each file, the first among them, as an evaluation set; the bytes of its file."""
    target.mkdir()
    with (target / "documents.jsonl").open("wb") as file:
        for path in sorted(source.glob("*.jsonl.zst")):
            for document in itertools.islice(read_documents(path), 0, None, 50):
                file.write(msgspec.json.encode({"text": document.text}) + b"\n")
        return file.tell()


def _documents(path: Path, *, every: int) -> Iterator[tuple[str, bytes]]:
    """Every n-th document; then all of them again and again, with their words in ever other orders."""
    for document in itertools.islice(read_documents(path), 0, None, every):
        yield document.text, document.meta
    for repetition in itertools.count(1):
        for document in read_documents(path):
            words = _WORD.findall(document.text)
            random.Random(f"{repetition} {document.line}").shuffle(words)
            drawn = iter(words)
            # The number keeps apart what has too few words to be shuffled.
            text = _WORD.sub(lambda _, drawn=drawn: next(drawn), document.text)
            yield f"{repetition}.{document.line} {text}", document.meta


def _lines(path: Path, *, every: int) -> Iterator[str]:
    """Every n-th line of all documents, at most 200 characters of it, numbered; then again, by other numbers."""
    for repetition in itertools.count():
        lines = (line for document in read_documents(path) for line in document.text.split("\n") if line.strip())
        for number, line in enumerate(itertools.islice(lines, 0, None, every)):
            yield f"{repetition}.{number} {line[:200]}"


def _long(paths: Sequence[Path], text_bytes: int) -> str:
    texts, found = [], 0
    for text, _ in itertools.chain.from_iterable(_documents(path, every=1) for path in paths):
        texts.append(text)
        found += len(text.encode())
        if found >= text_bytes:
            break
    return "\n".join(texts)


# Measuring


def run_all(
    root: Path, source: Path, shape: str, jobs: int, stages: Sequence[Stage] = STAGES
) -> dict[tuple[str, int], int]:
    """Peak bytes by stage and number of jobs: every stage once, those that have workers a second time with `jobs`."""
    paths = sorted(source.glob("*.jsonl.zst"))
    slugs = [path.name.split(".")[0] for path in paths]
    weights = root.with_name("weights.toml")
    weights.write_text("".join(f'"{slug}" = 1.5\n' for slug in slugs))
    names: dict[str, object] = {"source": source, "root": root, "weights": weights}
    names["sets"] = source.with_name("sets")
    names |= {"cache": root.with_name("cache"), "html": root.with_name("stats.html")}
    names["document"] = f"{slugs[0]}/{paths[0].name}:1"
    # The lines have not text enough for more.
    names["vocab_size"] = 50257 if shape == "text" else 8000
    peaks = {}
    for stage in stages:
        if shape != "text" and stage.bound in ("train", "export"):
            # Of batches and weights only, not of the corpus.
            continue
        command = [part.format(**names) for part in stage.command]
        command += [] if stage.bound == "export" else ["--root", str(root)]
        for number in sorted({1, jobs}) if stage.made else [1]:
            if number > 1:
                for folder in stage.made:
                    shutil.rmtree(root / folder)
            started_s = time.monotonic()
            with_jobs = ["--jobs", str(number)] if stage.made else []
            peaks[stage.name, number] = measure([sys.executable, "-m", "pile_toolkit", *command, *with_jobs])
            figures = f"{peaks[stage.name, number] / MIB:.0f} MiB in {time.monotonic() - started_s:.1f} s"
            print(f"{shape}: {stage.name}, {number} jobs: {figures}", file=sys.stderr, flush=True)
    return peaks


def measure_indexes() -> tuple[str, bool]:
    """(a Markdown table, whether every bound held) of the sample index, on sizes alone."""
    lines = [
        f"Input index: {INDEXED:,} sequences, {INDEXED_TOKENS:,} ids; against {TIMES} times as many of both.\n",
        "| order | small, MiB | bound | large, MiB | bound | result, MiB | more per byte of the result | held |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    all_held = True
    for order in ORDERS:
        peaks, bounds, results = [], [], []
        for times in (1, TIMES):
            with tempfile.TemporaryDirectory() as scratch:
                prefix, cache = Path(scratch) / "train", Path(scratch) / "cache"
                write_sizes(prefix, INDEXED * times, INDEXED_TOKENS * times)
                samples = str(3 * INDEXED_TOKENS * times // INDEXED_LENGTH // 2)
                options = ["--length", str(INDEXED_LENGTH), "--samples", samples, "--cache-dir", str(cache)]
                command = [sys.executable, "-m", "pile_toolkit", "shards", "index", str(prefix), "--order", order]
                peaks.append(measure([*command, *options]))
                results.append(sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()))
                read_bytes = index_path(prefix).stat().st_size
            bounds.append(TABLES_BYTES + read_bytes + RESULTS * results[-1])
            print(f"index, {order}: {peaks[-1] / MIB:.0f} MiB", file=sys.stderr, flush=True)
        held = all(peak <= bound for peak, bound in zip(peaks, bounds, strict=True))
        all_held &= held
        figures = [f"{value / MIB:,.0f}" for pair in zip(peaks, bounds, strict=True) for value in pair]
        more = (peaks[1] - peaks[0]) / (results[1] - results[0])
        figures += [f"{results[1] / MIB:,.0f}", f"{more:.2f}", "yes" if held else "**no**"]
        lines.append("| " + " | ".join([order, *figures]) + " |")
    return "\n".join(lines), all_held


def write_sizes(prefix: Path, sequences: int, tokens: int) -> None:
    """A pair of so many sequences, whose `.bin` is a hole as long as its ids would be."""
    rng = np.random.default_rng(1)
    sizes = rng.lognormal(0.0, 1.0, sequences)
    sizes = np.maximum((sizes * (tokens / sizes.sum())).astype(np.int32), 1)
    pointers = stored_pointers(sizes, dtype="u2")
    write_index(index_path(prefix), dtype="u2", sizes=sizes, pointers=pointers, doc_idx=np.arange(sequences + 1))
    data_path(prefix).touch()
    os.truncate(data_path(prefix), 2 * int(sizes.sum(dtype=np.int64)))


def measure(command: Sequence[str]) -> int:
    """Runs a command and gives the peak memory of it and of all processes below it; ends where it fails."""
    environment = {**os.environ, "PILE_ROOT": "", "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    peak = 0
    ends_at_s = time.monotonic() + LONGEST_S
    while process.poll() is None:
        if time.monotonic() > ends_at_s:
            process.kill()
            raise SystemExit(f"{' '.join(command)}\nhas not ended after {LONGEST_S} s")
        try:
            family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            break
        used = [_memory(pid) for pid in family]
        peak = max(peak, sum(proportional for proportional, _ in used), *(largest for _, largest in used))
        time.sleep(SAMPLE_INTERVAL_S)
    errors = process.stderr.read().decode() if process.stderr else ""
    if process.wait():
        raise SystemExit(f"{' '.join(command)}\n{errors}")
    return peak


def _memory(pid: int) -> tuple[int, int]:
    """(proportional set size now, largest resident size so far) of one process in bytes; zeros where it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    found = [re.search(pattern, text) for pattern, text in ((r"\nPss:\s+(\d+)", rollup), (r"\nVmHWM:\s+(\d+)", status))]
    proportional, largest = (int(match[1]) << 10 if match else 0 for match in found)
    return proportional, largest


# The table


def show(shape: str, inputs: list[MemoryInput], peaks: list[dict[tuple[str, int], int]]) -> tuple[str, bool]:
    """(a Markdown table, whether every bound held)."""
    sizes = [
        f"{each.documents:,} documents, {each.text_bytes / 1e6:.1f} MB, the longest {each.longest_bytes / 1e6:.2f} MB"
        for each in inputs
    ]
    unit, units = {
        "text": ("byte of text", inputs[1].text_bytes - inputs[0].text_bytes),
        "lines": ("document", inputs[1].documents - inputs[0].documents),
        "long": ("byte of the longest", inputs[1].longest_bytes - inputs[0].longest_bytes),
    }[shape]
    lines = [
        f"Input {shape}: {sizes[0]}; against {sizes[1]}.\n",
        f"| stage | jobs | small, MiB | bound | large, MiB | bound | bytes more per {unit} | held |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    all_held = True
    bound_of = {stage.name: stage.bound for stage in STAGES}
    for name, jobs in peaks[0]:
        found = [each[name, jobs] for each in peaks]
        allowed = [memory_bounds(each, jobs=jobs)[bound_of[name]] for each in inputs]
        held = all(peak <= bound for peak, bound in zip(found, allowed, strict=True))
        all_held &= held
        figures = [f"{value / MIB:,.0f}" for pair in zip(found, allowed, strict=True) for value in pair]
        figures.append(f"{(found[1] - found[0]) / units:,.2f}")
        lines.append("| " + " | ".join([name, str(jobs), *figures, "yes" if held else "**no**"]) + " |")
    return "\n".join(lines), all_held


if __name__ == "__main__":
    sys.exit(main())

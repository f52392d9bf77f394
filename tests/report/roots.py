"""Input folders and roots for the tests of the report: hostile documents, all stages, a run that was made up."""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard

from pile_toolkit.chain.stages import write_shards
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.report.render import write_report
from pipelines.build import build
from pipelines.dedup import dedup
from pipelines.download import download
from tokenizer.stage import train_on_plan
from trainer.metrics import METRICS, ComponentLoss, EpochMetrics, MetricsLog, StepMetrics, ValidationMetrics

# Each would set this mark in a browser if a page let it run.
MARK = "data-ran"
SCRIPT = f"<script>document.documentElement.setAttribute('{MARK}','1')</script>"
IMAGE = f"<img src=x onerror=document.documentElement.setAttribute('{MARK}','1')>"
SVG = f"</title></svg></style>{IMAGE}"
RUN = f"tiny {IMAGE}"
MAX_REJECTS = 3
STEPS = 700


class Made(NamedTuple):
    """A root with its report, and the folder of documents it was made from."""

    source: Path
    root: Path
    report: dict[str, Any]
    html: str


def read_input(path: Path) -> list[bytes]:
    """The physical lines of a `.jsonl.zst` file, read without any of our own code."""
    data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    return [line.removesuffix(b"\n") for line in io.BytesIO(data)]


def write_input(path: Path, lines: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"".join(line + b"\n" for line in lines)))


def input_files(source: Path) -> dict[str, list[Path]]:
    """The files of each component of a source folder."""
    files = {path.name.removesuffix(".jsonl.zst"): [path] for path in source.glob("*.jsonl.zst")}
    return files | {path.name: sorted(path.iterdir()) for path in source.iterdir() if path.is_dir()}


def read_documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a file, what is none left out."""
    found = []
    for line in read_input(path):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("text"), str):
            found.append(value)
    return found


def line_of(text: str) -> bytes:
    return json.dumps({"text": text, "meta": {}}, ensure_ascii=False).encode()


def hostile_source(folder: Path) -> Path:
    """Four components: texts and a file name that are markup, lines that are no documents, equal texts, odd lengths."""
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyzäé<&>\"'", k=chance.randint(2, 9))) for _ in range(900)]

    def texts(count: int, most_words: int) -> list[str]:
        return [" ".join(chance.choices(words, k=chance.randint(1, most_words))) for _ in range(count)]

    github = [SCRIPT + SVG, *texts(60, 300)]
    write_input(folder / "github.jsonl.zst", [*map(line_of, github), b'{"text": 1}', b"no json", *map(line_of, github)])
    write_input(folder / "arxiv" / "00.jsonl.zst", [line_of(text) for text in texts(30, 2000)])
    last = [line_of("x"), line_of(""), b"[]", *(line_of(text) for text in texts(15, 80))]
    write_input(folder / "arxiv" / f"{IMAGE}.jsonl.zst", last)
    write_input(folder / "enron-emails.jsonl.zst", [line_of(text) for text in texts(80, 60)])
    write_input(folder / "wikipedia-en.jsonl.zst", [line_of(text) for text in texts(37, 120)])
    return folder


def run_stages(source: Path, root: Path, *, method: Any, vocab_size: int) -> None:
    """Everything up to the shards."""
    slugs = sorted(input_files(source))
    download(root, components=slugs, source=str(source), max_rejects=MAX_REJECTS)
    dedup(root, method=method)
    build(root, val_share=0.1, test_share=0.1, train_shards=3)
    train_on_plan(root, vocab_size=vocab_size)
    write_shards(root)


class Shares:
    """A known utilisation."""

    def shares(self, tokens_per_s: float) -> tuple[float, float]:
        return 0.3, 0.4


def validation(step: int) -> ValidationMetrics:
    """Invented losses after a step; one component has the name of markup, one no known bytes."""
    components = {
        "arxiv": ComponentLoss(loss=3.0 - step / 1000, tokens=500, bits_per_byte=1.25),
        IMAGE: ComponentLoss(loss=1.5, tokens=140),
    }
    return ValidationMetrics(
        step=step,
        validation_loss=2.25 if step % 2 == 0 else 2.5,
        validation_tokens=640,
        validation_bits_per_byte=1.5,
        components=components,
        mixture_loss=2.75,
        mixture_bits_per_byte=1.75,
        mixture_share=0.875,
    )


def write_run(root: Path, name: str, *, steps: int) -> list[float]:
    """A finished run in the documented format, its losses invented; returns them.

    In fp16, every 40th step an overflow; two epochs, validations half way and at the end.
    """
    started_at, folder = time.time(), root / "runs" / name
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(f"# {SCRIPT}\n[train]\nsteps = {steps}\n")
    losses = [6.0 / (1 + step / 50) + (step * 7919 % 13) / 100 for step in range(steps)]
    log = MetricsLog(folder, step=0)
    for step, loss in enumerate(losses, start=1):
        norm, scale = (float("nan") if step % 40 == 0 else 1.0 + step / 100), 2.0 ** (12 - step // 40)
        row = StepMetrics(step=step, loss=loss, learning_rate=1e-3 / step, grad_norm=norm, tokens=step * 64)
        log.write(msgspec.structs.replace(row, loss_scale=scale, skipped=step % 40 == 0))
        log.write_timing(step, tokens=64, steps=steps, work=Shares(), memory_bytes=(step + 1) << 20)
        if step % (steps // 2) == 0:
            log.write(EpochMetrics(step=step, epochs_finished=step // (steps // 2)))
            log.write(validation(step))
    log.close()
    counts = {
        "recipe": f"{SCRIPT}.toml",
        "parameters": 12_345_678,
        "steps": steps,
        "tokens": steps * 64,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "validation_loss": 2.25,
        "validation_bits_per_byte": 1.5,
    }
    outputs = [describe(folder, folder / file) for file in (METRICS, "recipe.toml")]
    key = StageKey(stage="train", format=1, parameters={"recipe": {"note": SCRIPT}})
    publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return losses


def report_on(source: Path, root: Path) -> Made:
    result = write_report(root)
    report = json.loads((root / "reports" / "report.json").read_bytes())
    return Made(source=source, root=root, report=report, html=Path(result.path).read_text(encoding="utf-8"))

"""The ground of the fault tests in, roots with filters, a plan with moved copies and a large document file out.

A file of several megabytes is dealt into several files of blocks, which go one after the other as their outputs appear;
components behind filters have a folder for what their source brought; in a plan of many epochs some copies are moved.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

from pile_toolkit.core.documents import DocumentWriter
from tests.chain.small_chain import pile_command, process_environment
from tests.faults.ground import PATIENCE_S, copy_root
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.ground import Ground

LARGE = "stackexchange"
LARGE_DOCUMENTS, LARGE_WORDS = 8000, 350
SMALL = {"enron-emails": 60, "ubuntu-irc": 20}
WORDS = 5000
SLUGS = " ".join((LARGE, *SMALL))
FILTERED = "--filter length:min_words=4,max_words=340 --mask email"
PLAIN = f"download {SLUGS} --from {{bulk}}/source --root {{root}} --scheduler serial"
# So many epochs of so few documents that copies of one text meet.
BUILD = (
    "build --weights {bulk}/weights.toml --train-shards 4 --val-share 0.1 --test-share 0.1 --seed 7"
    " --root {root} --scheduler serial"
)
# Root: the root that it is made of, and the commands that make it of that one.
_STEPS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "nothing": (None, ()),
    "plain": ("nothing", (PLAIN,)),
    "filtered": ("plain", (f"{PLAIN} {FILTERED}",)),
    "deduplicated": ("filtered", ("dedup --root {root} --scheduler serial",)),
    "planned": ("deduplicated", (f"{BUILD} --no-write-corpus",)),
    # Small, for many flips; its commands are found again by a repair.
    "told": ("few", ("stats --root {root} --scheduler serial",)),
    "few": ("nothing", ("run {bulk}/few.toml --root {root} --scheduler serial",)),
    "bare": ("nothing", ("run {bulk}/bare.toml --root {root} --scheduler serial",)),
    "locked": ("bare", ("lock --root {root} -o {bulk}/few.lock",)),
}
_FEW = """
seed = 7
root = "root"

[download]
components = ["enron-emails", "ubuntu-irc"]
%s
[build]
train_shards = 3
val_share = 0.1
test_share = 0.1
weights = { enron-emails = 30, ubuntu-irc = 30 }

[tokenizer]
vocab_size = 600
"""
# One of them from the sample, so that what a source brought lies in the root.
_FEW_FILTERS = """
from = { default = "source", ubuntu-irc = "sample:" }
mask = ["email"]
filters = { length = { min_words = 4 } }
"""
_alone = threading.Lock()


def bulk_folder(ground: Ground) -> Path:
    """Where the sources, the configurations and the roots lie."""
    return ground.folder / "bulk"


def bulk_root(ground: Ground, name: str) -> Path:
    """The root of this name, made on its first use and for copying only."""
    with _alone:
        return _made(bulk_folder(ground), name)


def begin_bulk(ground: Ground, name: str, root: Path) -> None:
    """Makes `root` a copy of the root of this name."""
    copy_root(bulk_root(ground, name), root)


def _made(folder: Path, name: str) -> Path:
    if not folder.exists():
        _write_sources(folder)
    root = folder / name
    if root.exists():
        return root
    before, commands = _STEPS[name]
    beginning = folder / f"{name}.unfinished"
    if beginning.exists():
        shutil.rmtree(beginning)
    if before is None:
        beginning.mkdir()
    else:
        copy_root(_made(folder, before), beginning)
    for command in commands:
        words = [word.format(bulk=folder, root=beginning) for word in command.split()]
        done = subprocess.run(
            pile_command(words), capture_output=True, text=True, env=process_environment(), timeout=PATIENCE_S
        )
        demand(done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}")
    beginning.rename(root)
    return root


def _write_sources(folder: Path) -> None:
    folder.mkdir()
    rng = random.Random("bulk")
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(WORDS)]
    for slug, count in {LARGE: LARGE_DOCUMENTS, **SMALL}.items():
        with DocumentWriter(folder / "source" / f"{slug}.jsonl.zst") as writer:
            for number in range(count):
                some = rng.randint(1, LARGE_WORDS if slug == LARGE else 60)
                text = " ".join([*rng.choices(words, k=some), *(["me@example.org"] if number % 5 == 0 else [])])
                writer.write(text, {"number": number})
    (folder / "few.toml").write_text(_FEW % _FEW_FILTERS)
    (folder / "bare.toml").write_text(_FEW % 'from = "source"\n')
    weights = {LARGE: 1.0, **dict.fromkeys(SMALL, 40.0)}
    (folder / "weights.toml").write_text("".join(f"{slug} = {epochs}\n" for slug, epochs in weights.items()))

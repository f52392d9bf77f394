"""Large corpora in, a line each out: whether all merges at 50,257 ids are those of the library's BpeTrainer, in order.

    python -m tests.tokenizer.corpora        two minutes; exit code 1 where a merge differs

The whole mini-Pile in every layout, and further ones of other kinds; small ones are among the tests (`test_train.py`).
"""

from __future__ import annotations

import random
import re
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import normalizers

from pile_toolkit.core.documents import read_documents
from tests.conftest import SHARED
from tests.tokenizer.library import librarys_merges
from tokenizer.layout import DEFAULT_LAYOUT, NEOX_20B_LAYOUT, merges_wanted
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

VOCAB_SIZE = 50_257
SPECIAL_AND_BYTES = 258
CODE_BYTES = 40_000_000


class Case(NamedTuple):
    """A corpus, and how it is trained on."""

    name: str
    texts: list[str]
    max_space_run: int = 24
    layout: str = DEFAULT_LAYOUT


def cases() -> Iterator[Case]:
    """One after the other: together they would fill the memory."""
    folder = SHARED / "data" / "minipile"
    files = {
        path.name.removesuffix(".jsonl.zst"): [document.text for document in read_documents(path)]
        for path in sorted(folder.glob("*.jsonl.zst"))
    }
    if files:
        everything = [text for texts in files.values() for text in texts]
        yield Case("mini-Pile, no runs of spaces", everything, max_space_run=1)
        yield Case("mini-Pile", everything)
        yield Case("mini-Pile, NFC and runs on top", everything, layout=NEOX_20B_LAYOUT)
        for slug in ("europarl", "stackexchange", "pubmed-abstracts"):
            yield Case(slug, files[slug])
    else:
        print(f"{folder} does not lie beside this checkout: without the mini-Pile", flush=True)
    yield Case("Python code", list(code()))
    yield Case("any code points", list(code_points()))


def code() -> Iterator[str]:
    """Python files of this environment, so many bytes of them."""
    total_bytes = 0
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
        text = path.read_bytes().decode(errors="ignore")
        total_bytes += len(text.encode())
        yield text
        if total_bytes > CODE_BYTES:
            return


def code_points() -> Iterator[str]:
    """Text that nobody writes: letters, digits, marks, white space of all of Unicode, some of them often."""
    picked = random.Random(1)
    points = [point for point in range(0x80, 0x20000) if not 0xD800 <= point < 0xE000]
    for _ in range(300):
        some = [*map(chr, picked.sample(points, 300)), *" \n\t\u3000'\u0301"]
        yield "".join(picked.choices(some, weights=[1 / rank for rank in range(1, len(some) + 1)], k=5_000))


def differences(case: Case) -> int:
    """How many merges are not the library's."""
    encoder = train_tokenizer(
        case.texts,
        vocab_size=VOCAB_SIZE,
        max_space_run=case.max_space_run,
        layout=case.layout,
        allow_smaller=True,
    )
    composed = map(normalizers.NFC().normalize_str, case.texts) if case.layout == NEOX_20B_LAYOUT else case.texts
    run = f" {{2,{case.max_space_run}}}"
    pieces = composed if case.max_space_run == 1 else (piece for text in composed for piece in re.split(run, text))
    limit = SPECIAL_AND_BYTES + merges_wanted(VOCAB_SIZE, case.max_space_run, case.layout)
    _, expected = librarys_merges(pieces, limit)
    found = [list(merge) for merge in encoder.definition.merges]
    same = sum(1 for one, other in zip(found, expected, strict=False) if one == other)
    return max(len(found), len(expected)) - same


def main() -> None:
    """Exit code 1 where something differs."""
    failed = False
    for case in cases():
        started = time.monotonic()
        different = differences(case)
        failed |= different > 0
        verdict = f"{different:,} merges DIFFER" if different else "all merges equal"
        size = sum(len(text.encode()) for text in case.texts)
        print(f"{case.name}: {size:,} bytes, {verdict}, {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

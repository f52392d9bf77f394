"""The mini-Pile in, a proof out: trained on nine tenths, ours encodes the other tenth with the tokens of the library's.

The library's trainer gets the same texts, cut where runs of spaces are, and its tokenizer the same special tokens and
runs; then both encode what neither has seen, id by id. Beside it the tokens of the released tokenizers on that tenth.
`python -m tests.tokenizer.proof` is the whole proof, in half a minute; a small one is among the tests.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.seeds import text_hash
from tokenizer.encoder import Encoder
from tokenizer.layout import SPECIAL_TOKENS
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHARED = Path(__file__).resolve().parents[3] / "shared"
PARTS = 10
VOCAB_SIZE = 50_257
LONGEST_RUN = 24
RUNS = re.compile(f" {{2,{LONGEST_RUN}}}")
# What the held-out tenth has to come to: ours against the released 20B tokenizer, and that against GPT-2's.
MOST_OF_20B = 0.98
MOST_20B_OF_GPT2 = 0.90


class Line(NamedTuple):
    """A document of the mini-Pile and where it stands."""

    file: str
    line: int
    text: str


class Halves(NamedTuple):
    """Nine tenths and the other tenth."""

    train: list[Line]
    held_out: list[Line]


class Figures(NamedTuple):
    """What both sides are, and the tokens of the held-out one under every tokenizer."""

    train_documents: int
    train_bytes: int
    documents: int
    bytes: int
    ours: int
    librarys: int
    different_documents: int
    neox_20b: int
    gpt2: int

    @property
    def of_20b(self) -> float:
        return self.ours / self.neox_20b

    @property
    def of_gpt2(self) -> float:
        return self.neox_20b / self.gpt2


def read_minipile(folder: Path) -> list[Line]:
    return [
        Line(path.name, document.line, document.text)
        for path in sorted(folder.glob("*.jsonl.zst"))
        for document in read_documents(path)
    ]


def known_pairs(folder: Path) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """(file, line) twice: documents that are nearly the same."""
    pairs = json.loads((folder / "near_duplicates.json").read_text())["pairs"]
    return [(tuple(pair["a"]), tuple(pair["b"])) for pair in pairs]


def halves(lines: Sequence[Line], pairs: Iterable[tuple[tuple[str, int], tuple[str, int]]]) -> Halves:
    """Of every file one in ten groups is held out, by the hash of its text; a group is what is equal or nearly so."""
    leader = {(line.file, line.line): (line.file, line.line) for line in lines}

    def find(place: tuple[str, int]) -> tuple[str, int]:
        while leader[place] != place:
            place = leader[place]
        return place

    first_with: dict[bytes, tuple[str, int]] = {}
    equal = [
        ((line.file, line.line), first_with.setdefault(text_hash(line.text), (line.file, line.line))) for line in lines
    ]
    for one, other in (*equal, *pairs):
        if one in leader and other in leader:
            low, high = sorted((find(one), find(other)))
            leader[high] = low
    hashes = {(line.file, line.line): text_hash(line.text) for line in lines}
    by_file = defaultdict(list)
    for place in leader:
        if leader[place] == place:
            by_file[place[0]].append((hashes[place], place))
    held_out = {place for groups in by_file.values() for _, place in sorted(groups)[PARTS // 2 :: PARTS]}
    sides = Halves([], [])
    for line in lines:
        sides[find((line.file, line.line)) in held_out].append(line)
    return sides


def librarys_twin(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """The library's tokenizer of the default layout, its merges from its own trainer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - (LONGEST_RUN - 1),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in texts for piece in RUNS.split(text)), trainer)
    tokenizer.add_tokens([AddedToken(" " * length, normalized=False) for length in range(LONGEST_RUN, 1, -1)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def measure(
    sides: Halves,
    *,
    neox_20b: Encoder,
    gpt2: Encoder,
    vocab_size: int = VOCAB_SIZE,
    librarys_train: Sequence[Line] | None = None,
) -> Figures:
    """Trains both, encodes the held-out side with both and with the released tokenizers.

    `librarys_train`: other text for the library's trainer, to see that the figures tell them apart.
    """
    ours = train_tokenizer([line.text for line in sides.train], vocab_size=vocab_size)
    twin = librarys_twin((line.text for line in librarys_train or sides.train), vocab_size)
    texts = [line.text for line in sides.held_out]
    ids, offsets = ours.encode_batch(texts)
    different = librarys = 0
    for number, text in enumerate(texts):
        expected = twin.encode(text, add_special_tokens=False).ids
        librarys += len(expected)
        different += expected != ids[offsets[number] : offsets[number + 1]].tolist()
    return Figures(
        train_documents=len(sides.train),
        train_bytes=sum(len(line.text.encode()) for line in sides.train),
        documents=len(texts),
        bytes=sum(len(text.encode()) for text in texts),
        ours=ids.size,
        librarys=librarys,
        different_documents=different,
        neox_20b=neox_20b.encode_batch(texts)[0].size,
        gpt2=gpt2.encode_batch(texts)[0].size,
    )


def main() -> None:
    if not (SHARED / "data" / "minipile").is_dir():
        print(f"{SHARED / 'data' / 'minipile'} does not lie beside this checkout: there is nothing to prove it with")
        return
    lines = read_minipile(SHARED / "data" / "minipile")
    sides = halves(lines, known_pairs(SHARED / "data" / "minipile"))
    neox_20b, gpt2 = (
        Encoder.load(SHARED / "reference" / name) for name in ("20B_tokenizer.json", "gpt2_tokenizer.json")
    )
    found = measure(sides, neox_20b=neox_20b, gpt2=gpt2)
    print(f"trained on {found.train_documents:,} documents, {found.train_bytes:,} bytes: {VOCAB_SIZE:,} ids")
    print(f"held out {found.documents:,} documents, {found.bytes:,} bytes")
    print(f"  ours             {found.ours:>10,} tokens, {found.of_20b:.4f} of the released 20B tokenizer's")
    print(f"  the library's    {found.librarys:>10,} tokens, other ids in {found.different_documents} documents")
    print(f"  20B, released    {found.neox_20b:>10,} tokens, {found.of_gpt2:.4f} of GPT-2's")
    print(f"  GPT-2            {found.gpt2:>10,} tokens")
    if found.different_documents or found.ours != found.librarys:
        raise SystemExit("ours and the library's trainer do not agree")
    if found.of_20b > MOST_OF_20B:
        raise SystemExit(f"ours takes more than {MOST_OF_20B} of the released 20B tokenizer's tokens")
    if round(found.of_gpt2, 2) > MOST_20B_OF_GPT2:
        raise SystemExit(f"the released 20B tokenizer takes more than {MOST_20B_OF_GPT2} of GPT-2's tokens")
    print("proved")


if __name__ == "__main__":
    main()

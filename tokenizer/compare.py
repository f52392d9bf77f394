"""Tokenizers and any texts in, the paper's Tables 14 to 16 out: tokens per component and in all, with and without
white-space tokens, the longest and the unused tokens of each vocabulary, and the documents that take the most.

Texts are read once and held a few at a time; special tokens inside them count as text. The result depends on the
tokenizers and the texts only, not on the number of threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from tokenizer.comparing.results import TOTAL, Comparison, ComparisonRow, TokenCounts, printable
from tokenizer.comparing.tally import Count, Tally
from tokenizer.comparing.texts import PlacedText, Texts, open_texts
from tokenizer.encoder import CHUNK_CHARACTERS, Encoder, lone_surrogate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pile_toolkit.core.console import Reporter

# Of a batch each thread gets some chunks, so that none waits long for the last.
BATCH_CHARACTERS = 4 * CHUNK_CHARACTERS
# An empty text takes memory too.
TEXT_OVERHEAD = 100
LONGEST, UNUSED, WORST = 10, 10, 5
_USAGE = "pile tokenizer compare A.json B.json --data FOLDER"


def compare_tokenizers(
    files: Sequence[str | Path],
    data: str | Path = "val",
    *,
    root: str | Path = "pile-data",
    longest: int = LONGEST,
    unused: int = UNUSED,
    worst: int = WORST,
    threads: int = 1,
    reporter: Reporter = SILENT,
) -> Comparison:
    """Counts what each tokenizer.json makes of the same texts; ratios are to the first of `files`.

    `data` is a split of the plan in `root` ("train", "val" or "test", every piece once), or a file or folder of
    documents (`tokenizer/comparing/texts.py` says which). `longest`, `unused` and `worst` limit what is listed.
    Raises UsageError where a file or the data is missing or given twice, CorruptData where one is damaged.
    """
    names = [str(file) for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{twice[0]} is given twice", hint=_USAGE)
    encoders = {name: Encoder.load(file) for name, file in zip(names, files, strict=True)}
    texts = open_texts(data, Path(root))
    return compare(encoders, texts, longest=longest, unused=unused, worst=worst, threads=threads, reporter=reporter)


def compare(
    encoders: Mapping[str, Encoder],
    documents: Texts | Iterable[tuple[str, str] | PlacedText],
    *,
    longest: int = LONGEST,
    unused: int = UNUSED,
    worst: int = WORST,
    threads: int = 1,
    reporter: Reporter = SILENT,
) -> Comparison:
    """The same for encoders by name, the first being what the others are held against, and (component, text) pairs.

    Raises UsageError where there is no encoder or no document, CorruptData for a lone surrogate.
    """
    for name, value in (("longest", longest), ("unused", unused), ("worst", worst)):
        if value < 0:
            raise UsageError(f"{name} is {value}, it cannot be negative", hint=f"--{name} 0 lists none")
    if not encoders:
        raise UsageError("there is no tokenizer to compare", hint=_USAGE)
    tallies = {name: Tally(encoder, worst=worst) for name, encoder in encoders.items()}
    sizes: dict[str, tuple[int, int]] = {}
    with reporter.progress("compare", total=0, unit="bytes") as advance:
        for batch in _batches(documents, BATCH_CHARACTERS * max(threads, 1)):
            text_bytes = [_text_bytes(document) for document in batch]
            for document, size in zip(batch, text_bytes, strict=True):
                documents_so_far, bytes_so_far = sizes.get(document.component, (0, 0))
                sizes[document.component] = (documents_so_far + 1, bytes_so_far + size)
            for tally in tallies.values():
                tally.add(batch, text_bytes, threads=threads)
            advance(sum(text_bytes), note=_files_done(documents))
    if not sizes:
        raise _no_documents(documents)
    return _comparison(tallies, sizes, documents, longest=longest, unused=unused)


def _comparison(
    tallies: dict[str, Tally], sizes: dict[str, tuple[int, int]], documents: Any, *, longest: int, unused: int
) -> Comparison:
    rows = tuple(
        _row(component, *of_component, {name: tally.components[component] for name, tally in tallies.items()})
        for component, of_component in sizes.items()
    )
    everything = {name: _sum(tally.components.values()) for name, tally in tallies.items()}
    source = documents if isinstance(documents, Texts) else Texts("the documents given")
    return Comparison(
        data=printable(source.name),
        encoders=tuple(tallies),
        rows=rows,
        total=_row(TOTAL, sum(row.documents for row in rows), sum(row.bytes for row in rows), everything),
        vocabularies={name: tally.vocabulary(longest=longest, unused=unused) for name, tally in tallies.items()},
        worst={name: tally.worst() for name, tally in tallies.items()},
        without_text=source.without_text,
        rejected=source.rejected,
        first_rejected=source.first_rejected and printable(source.first_rejected),
    )


def _row(component: str, documents: int, size: int, counts: dict[str, Count]) -> ComparisonRow:
    solid = {name: count.solid for name, count in counts.items()}
    tokens = {name: count.tokens for name, count in counts.items()}
    return ComparisonRow(
        component=printable(component),
        documents=documents,
        bytes=size,
        tokens=tokens,
        bytes_per_token={name: _quotient(size, count) for name, count in tokens.items()},
        ratio=_ratios(tokens),
        without_white_space=TokenCounts(
            tokens=solid,
            bytes_per_token={name: _quotient(count.solid_bytes, count.solid) for name, count in counts.items()},
            ratio=_ratios(solid),
        ),
    )


def _ratios(tokens: dict[str, int]) -> dict[str, float | None]:
    first = next(iter(tokens.values()))
    return {name: _quotient(count, first) for name, count in tokens.items()}


def _quotient(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _sum(counts: Iterable[Count]) -> Count:
    total = Count()
    for count in counts:
        total.add(count.tokens, count.solid, count.solid_bytes)
    return total


def _text_bytes(document: PlacedText) -> int:
    try:
        return len(document.text.encode())
    except UnicodeEncodeError as error:
        raise lone_surrogate(f"a document of {printable(document.component)}", error) from None


def _files_done(documents: object) -> str:
    if isinstance(documents, Texts) and documents.files > 1:
        return f"{documents.files_done:,} of {documents.files:,} files"
    return ""


def _no_documents(documents: object) -> UsageError:
    where = f" in {documents.name}" if isinstance(documents, Texts) else ""
    why = f": {documents.first_rejected}" if isinstance(documents, Texts) and documents.first_rejected else ""
    return UsageError(f"there are no documents to compare on{where}{why}", hint=f"{_USAGE} with *.jsonl.zst files")


def _batches(documents: Iterable[tuple[str, str] | PlacedText], most_characters: int) -> Iterator[list[PlacedText]]:
    batch: list[PlacedText] = []
    characters = 0
    for number, document in enumerate(documents, start=1):
        component, text, *place = document
        batch.append(PlacedText(component, text, place[0] if place else f"document {number:,}"))
        characters += len(text) + TEXT_OVERHEAD
        if characters >= most_characters:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch

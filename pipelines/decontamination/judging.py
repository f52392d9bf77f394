"""What the tasks found in, the fate of every contaminated document out, with the evidence and the counts.

Once through all hits to know in how many documents each n-gram is, once more to decide; the hits of one file are in
memory at a time, and of all files what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.decontamination.cutting import covered, decide
from pipelines.decontamination.decontaminate import (
    ComponentContamination,
    Contamination,
    ContaminationCounts,
    SetContamination,
)
from pipelines.decontamination.evidence import evidence_schema, pieces_schema
from pipelines.decontamination.ngrams import open_ngrams
from pipelines.decontamination.search import Found, read_found, spans_of_equal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pile_toolkit.core.components import ComponentDocuments
    from pipelines.decontamination.ngrams import Ngrams
    from pipelines.decontamination.settings import Against


def judge(
    components: Sequence[ComponentDocuments],
    kept: np.ndarray,
    found: Sequence[Path],
    table: Path,
    against: Against,
    *,
    folder: str,
) -> Contamination:
    """The result of a decontamination from the folders of its tasks, one per file in order; `folder` is for people."""
    header, ngrams = open_ngrams(table)
    documents = documents_of_ngrams(found, len(ngrams.starts))
    counts = (documents > 0) if against.common is None else (documents > 0) & (documents <= against.common)
    verdict = _Verdict(ngrams, header.fields, len(header.sets), against)
    per_component = {}
    folders, first = iter(found), 0
    for number, item in enumerate(components):
        before = verdict.totals()
        searched = int(kept[first : first + item.documents].sum())
        for file, planned in enumerate(item.files):
            verdict.add(read_found(next(folders)), counts, component=number, file=file, first_row=first)
            first += planned.counts.documents
        after = verdict.totals()
        of_component = {name: after[name] - before[name] for name in after}
        per_component[item.slug] = ComponentContamination(searched=searched, **of_component)
    totals, found_ngrams = verdict.totals(), verdict.set_ngrams(counts)
    sets = {
        one.name: SetContamination(
            records=one.records,
            too_short=one.too_short,
            ngrams=one.ngrams,
            documents=int(verdict.set_documents[number]),
            found_ngrams=int(found_ngrams[number]),
            characters=int(verdict.set_characters[number]),
        )
        for number, one in enumerate(header.sets)
    }
    return Contamination(
        dropped=np.array(verdict.dropped, np.int64),
        pieces=verdict.pieces(),
        evidence=verdict.evidence([one.name for one in header.sets]),
        counts=ContaminationCounts(
            folder=folder,
            ngrams=len(ngrams.starts),
            common_ngrams=int(((documents > 0) & ~counts).sum()),
            documents=totals["dropped"] + totals["cut"],
            dropped=totals["dropped"],
            cut=totals["cut"],
            characters=totals["characters"],
            sets=sets,
            components=per_component,
            ignored=header.ignored,
        ),
        cut=against.action == "cut",
    )


def documents_of_ngrams(found: Sequence[Path], ngrams: int) -> NDArray[np.int64]:
    """In how many documents each n-gram is."""
    documents = np.zeros(ngrams, np.int64)
    for folder in found:
        hits = read_found(folder).hits
        pairs = np.unique(np.stack([hits["document"], hits["ngram"]], axis=1), axis=0)
        documents += np.bincount(pairs[:, 1], minlength=ngrams)
    return documents


class _Verdict:
    """What comes out, as it grows, file after file."""

    def __init__(self, ngrams: Ngrams, fields: list[str], sets: int, against: Against) -> None:
        self._ngrams, self._fields, self._against = ngrams, fields, against
        # Places are in the order of n-grams: those of n-gram i begin here.
        self._first_place = np.searchsorted(ngrams.places[:, 0], np.arange(len(ngrams.starts) + 1))
        self.dropped: list[int] = []
        self.set_documents = np.zeros(sets, np.int64)
        self.set_characters = np.zeros(sets, np.int64)
        self._cut = self._characters = 0
        self._pieces: list[NDArray[np.int64]] = []
        self._evidence: list[NDArray[np.int64]] = []

    def totals(self) -> dict[str, int]:
        pieces = sum(map(len, self._pieces))
        return {"dropped": len(self.dropped), "cut": self._cut, "pieces": pieces, "characters": self._characters}

    def add(self, found: Found, counts: NDArray[np.bool_], *, component: int, file: int, first_row: int) -> None:
        """Decides the documents of a file by the hits of n-grams that count."""
        hits = found.hits[counts[found.hits["ngram"]]]
        for number, first, end in spans_of_equal(hits["document"]):
            some = hits[first:end]
            _, line, characters, text_bytes = found.documents[number].tolist()
            row = first_row + int(found.documents[number]["number"])
            fate = decide(some, characters, text_bytes, self._against)
            self._characters += fate.characters
            if fate.pieces is None:
                self.dropped.append(row)
            else:
                self._cut += 1
                rows = np.full((len(fate.pieces), 1), row)
                self._pieces.append(np.concatenate([rows, fate.pieces], axis=1))
            self._note(some, component, file, line, characters if fate.pieces is None else None)

    def _note(self, hits: NDArray[Any], component: int, file: int, line: int, whole: int | None) -> None:
        """The evidence of a document, whose characters go for its sets: all of them if it is `whole`."""
        ngram = hits["ngram"]
        repeats = self._first_place[ngram + 1] - self._first_place[ngram]
        hit = np.repeat(np.arange(len(hits)), repeats)
        place = np.concatenate([np.arange(self._first_place[n], self._first_place[n + 1]) for n in ngram.tolist()])
        of_set = self._ngrams.places[place, 1]
        same = np.ones(len(hit), np.int64)
        columns = (same * component, same * file, same * line, hits["start"][hit], hits["end"][hit], place)
        self._evidence.append(np.stack(columns, axis=1))
        for number in np.unique(of_set).tolist():
            self.set_documents[number] += 1
            mine = hits[hit[of_set == number]]
            self.set_characters[number] += covered(mine) if whole is None else whole

    def set_ngrams(self, counts: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many n-grams of each set were found and count."""
        places = self._ngrams.places
        return np.bincount(places[counts[places[:, 0]], 1], minlength=len(self.set_documents))

    def pieces(self) -> dict[str, Any]:
        """The columns of the table of pieces."""
        rows = np.concatenate([np.empty((0, 4), np.int64), *self._pieces]).astype(np.uint64)
        return dict(zip(pieces_schema().names, rows.T, strict=True))

    def evidence(self, sets: list[str]) -> dict[str, Any]:
        """The columns of the table of evidence."""
        rows = np.concatenate([np.empty((0, 6), np.int64), *self._evidence])
        ngram, of_set, line, field = self._ngrams.places[rows[:, 5]].T
        kinds = (np.uint8, np.uint32, np.uint64, np.uint64, np.uint64)
        numbers = [rows[:, column].astype(kind) for column, kind in enumerate(kinds)]
        texts = {number: self._ngrams.ngram_text(number) for number in np.unique(ngram).tolist()}
        columns = [
            *numbers,
            [sets[number] for number in of_set.tolist()],
            line.astype(np.uint64),
            [self._fields[number] for number in field.tolist()],
            [texts[number] for number in ngram.tolist()],
        ]
        return dict(zip(evidence_schema().names, columns, strict=True))

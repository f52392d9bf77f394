"""Chosen pairs of documents in, what their texts say out: exact similarities, how often bands find them, differences.

Of the document files only those are read that hold a wanted document, as far as the last of them, and of all together
about READ_LIMIT_BYTES of text at most. A text that is not the one the table describes is left out.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.seeds import text_hash
from pile_toolkit.core.tables import GROUP_ROWS
from pile_toolkit.report.differences import Differences, beginning, differences
from pipelines.keep_list import open_keep_list
from pipelines.lsh.quality import s_curve
from pipelines.minhash import SignatureSettings, fingerprint_texts, shingle_keys
from pipelines.minhash.settings import MOST_PERMUTATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pile_toolkit.core.components import ComponentFile
    from pile_toolkit.core.tables import TableFile
    from pile_toolkit.report.dedup_study import DedupStudy, Pair

READ_LIMIT_BYTES = 8 << 30
SHOWN_LARGEST, SHOWN_NEAREST, SHOWN_DRAWN = 4, 4, 6
BEGINNING_CHARACTERS = 160
# Signatures of other permutations, by which it is tried how often a pair meets.
TRIALS = 16
TRIAL_SEED = 2
TRIAL_LIMIT_BYTES = 1 << 18
POINT_WIDTH = 0.05


class Place(NamedTuple):
    """Where a document lies, and what the table says of its text; `name` is its document id."""

    slug: str
    file: str
    line: int
    name: str
    text_bytes: int
    text_hash: bytes


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of about this similarity: of `trials` signings of one of them `found` put both texts into one bucket.

    `expected` is the mean of the S-curve at their similarities.
    """

    pairs: int
    similarity: float
    trials: int
    found: int
    expected: float


class Sample(NamedTuple):
    """A near duplicate beside the kept document of its cluster."""

    chosen: str
    similarity: float
    removed: Place
    kept: Place
    differences: Differences


class PairStudy(NamedTuple):
    """`measured` are the similarities of the drawn pairs that could be read, of which there are `unread` others.

    `kept` has the ids of the largest clusters' kept documents by row, and how they begin where they could be read.
    """

    measured: list[float]
    unread: int
    points: list[CurvePoint]
    samples: list[Sample]
    kept: dict[int, tuple[str, str | None]]


def study_pairs(study: DedupStudy, *, read_limit_bytes: int = READ_LIMIT_BYTES) -> PairStudy:
    """Reads the texts of the chosen pairs, twice where they are shown. Raises CorruptData for a damaged table."""
    root = Path(study.root)
    texts = _Texts(root, open_keep_list(root), read_limit_bytes)
    candidates = [*study.largest, *study.nearest, *study.drawn]
    similarity: dict[tuple[int, int], float] = {}
    bands: dict[int, NDArray[np.uint64]] = {}
    if candidates:
        similarity, bands = _measure(texts, candidates, study.parameters)
    drawn = [pair for pair in study.drawn if pair[:2] in similarity]
    points = _points([(similarity[pair[:2]], pair) for pair in drawn], bands, study.parameters) if bands else []
    shown = _shown(study, similarity)
    kept_rows = [cluster.kept_row for cluster in study.top]
    read = texts.read([[pair.removed, pair.kept] for pair in shown] + [[row] for row in kept_rows], lambda text: text)
    samples = [
        Sample(
            pair.chosen,
            similarity[pair[:2]],
            texts.place(pair.removed),
            texts.place(pair.kept),
            differences(read[pair.removed], read[pair.kept]),
        )
        for pair in shown
        if pair.removed in read and pair.kept in read
    ]
    begins = {row: beginning(read[row], characters=BEGINNING_CHARACTERS) for row in kept_rows if row in read}
    return PairStudy(
        measured=[similarity[pair[:2]] for pair in drawn],
        unread=len(study.drawn) - len(drawn),
        points=points,
        samples=samples,
        kept={row: (texts.place(row).name, begins.get(row)) for row in kept_rows},
    )


def signature_settings(parameters: Mapping[str, Any], **changes: Any) -> SignatureSettings:
    """The settings of signatures among the parameters of a manifest."""
    names = {"unit": "shingle", "size": "shingle_size"}
    fields = {name: parameters[names.get(name, name)] for name in SignatureSettings.__struct_fields__}
    return SignatureSettings(**{**fields, **changes})


def _measure(
    texts: _Texts, pairs: Sequence[Pair], parameters: Mapping[str, Any]
) -> tuple[dict[tuple[int, int], float], dict[int, NDArray[np.uint64]]]:
    """The similarity of each pair of rows that could be read, and band hashes [trials, bands] of rows not too long."""
    settings = msgspec.structs.asdict(signature_settings(parameters))
    words = settings.pop("size")
    count, rows = parameters["bands"], parameters["rows"]
    trials = max(min(TRIALS, MOST_PERMUTATIONS // (count * rows)), 1)
    trial = signature_settings(parameters, seed=TRIAL_SEED, num_perm=max(trials * count * rows, 2))

    def measure(text: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
        shingles = shingle_keys(text, words=words, **settings)
        if len(text) > TRIAL_LIMIT_BYTES:
            return shingles, None
        hashes = fingerprint_texts([text], trial, bands=(trials * count, rows)).band_hashes
        return shingles, None if hashes is None else hashes.reshape(trials, count)

    found = texts.read([[pair.removed, pair.kept] for pair in pairs], measure)
    similarity = {
        pair[:2]: jaccard(found[pair.removed][0], found[pair.kept][0])
        for pair in pairs
        if pair.removed in found and pair.kept in found
    }
    return similarity, {row: hashes for row, (_, hashes) in found.items() if hashes is not None}


def jaccard(one: NDArray, other: NDArray) -> float:
    """Of two sets as arrays without repeats; two empty ones are equal."""
    import numpy as np

    common = np.intersect1d(one, other, assume_unique=True).size
    union = one.size + other.size - common
    return common / union if union else 1.0


def _points(
    measured: Iterable[tuple[float, Pair]], bands: Mapping[int, NDArray[np.uint64]], parameters: Mapping[str, Any]
) -> list[CurvePoint]:
    """How often pairs of like similarity met in a bucket, least similar ones first."""
    groups: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for similarity, pair in measured:
        if pair.removed in bands and pair.kept in bands:
            met = (bands[pair.removed] == bands[pair.kept]).any(axis=1)
            groups[int(similarity / POINT_WIDTH + 1e-9)].append((similarity, int(met.sum()), met.size))
    points = []
    for _, rows in sorted(groups.items()):
        curve = [s_curve(bands=parameters["bands"], rows=parameters["rows"], similarity=row[0]) for row in rows]
        points.append(
            CurvePoint(
                pairs=len(rows),
                similarity=sum(row[0] for row in rows) / len(rows),
                trials=sum(row[2] for row in rows),
                found=sum(row[1] for row in rows),
                expected=sum(curve) / len(rows),
            )
        )
    return points


def _shown(study: DedupStudy, similarity: Mapping[tuple[int, int], float]) -> list[Pair]:
    """The pairs to be shown: of large clusters, near the threshold, at random; none twice."""
    threshold = study.parameters.get("threshold", 0.0)
    nearest = list(study.nearest)
    if not nearest:
        # Nobody compared them all: of those that were drawn.
        drawn = [pair for pair in study.drawn if pair[:2] in similarity]
        drawn.sort(key=lambda pair: (abs(similarity[pair[:2]] - threshold), pair))
        nearest = [pair._replace(chosen="nearest to the threshold of those drawn") for pair in drawn]
    chosen: dict[tuple[int, int], Pair] = {}
    for pairs, most in ((study.largest, SHOWN_LARGEST), (nearest, SHOWN_NEAREST), (study.drawn, SHOWN_DRAWN)):
        fresh = [pair for pair in pairs if pair[:2] in similarity and pair[:2] not in chosen]
        chosen |= {pair[:2]: pair for pair in fresh[:most]}
    return list(chosen.values())


class _Texts:
    """Texts of documents by their rows in the table."""

    def __init__(self, root: Path, table: TableFile, limit_bytes: int) -> None:
        self._root, self._table, self._limit_bytes = root, table, limit_bytes
        self._places: dict[int, Place] = {}
        self._files: dict[str, dict[str, tuple[ComponentFile, int]]] = {}

    def place(self, row: int) -> Place:
        """Of a row that was asked for before."""
        return self._places[row]

    def read(self, wanted: Sequence[Sequence[int]], use: Callable[[str], Any]) -> dict[int, Any]:
        """What `use` makes of each text, by row; rows that belong together are read if all of them are not too far."""
        self._locate({row for rows in wanted for row in rows})
        found: dict[int, Any] = {}
        for (slug, name), lines in self._affordable(wanted).items():
            path = self._files[slug][name][0].path
            for row, text in _read_lines(path, lines):
                if text_hash(text) == self._places[row].text_hash:
                    found[row] = use(text)
        return found

    def _locate(self, rows: Iterable[int]) -> None:
        columns = ["component", "file", "line", "bytes", "text_hash"]
        by_group: dict[int, list[int]] = defaultdict(list)
        for row in sorted(set(rows) - self._places.keys()):
            by_group[row // GROUP_ROWS].append(row)
        for group, members in by_group.items():
            first = group * GROUP_ROWS
            table = self._table.rows(range(first, min(first + GROUP_ROWS, len(self._table))), columns)
            for row, found in zip(members, table.take([row - first for row in members]).to_pylist(), strict=True):
                component = self._table.header[found["component"]]
                file, line = component.files[found["file"]], found["line"]
                name = f"{component.slug}/{file}:{line}"
                self._places[row] = Place(component.slug, file, line, name, found["bytes"], found["text_hash"])

    def _affordable(self, wanted: Sequence[Sequence[int]]) -> dict[tuple[str, str], dict[int, int]]:
        """{line: row} of each file to be read, of as many of the wanted, in their order, as the limit allows."""
        costs: dict[tuple[str, str], float] = {}
        chosen: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        for rows in wanted:
            places = [self._places[row] for row in rows]
            after = dict(costs)
            for place in places:
                after[place[:2]] = max(after.get(place[:2], 0.0), self._cost(place))
            if sum(after.values()) <= self._limit_bytes:
                costs = after
                for row, place in zip(rows, places, strict=True):
                    chosen[place[:2]][place.line] = row
        return chosen

    def _cost(self, place: Place) -> float:
        """About how many bytes of text are read to get there; infinitely many where nothing is."""
        if place.slug not in self._files:
            self._files[place.slug] = self._component(place.slug)
        if place.file not in self._files[place.slug]:
            return float("inf")
        file, lines = self._files[place.slug][place.file]
        return file.counts.text_bytes * min(place.line / max(lines, 1), 1.0)

    def _component(self, slug: str) -> dict[str, tuple[ComponentFile, int]]:
        """The files of a component and their lines, none where it is gone."""
        try:
            files = read_component(self._root, slug).files
        except (UsageError, CorruptData):
            return {}
        return {file.counts.name: (file, file.counts.documents + file.counts.rejects) for file in files}


def _read_lines(path: Path, rows: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    """(row, text) of some lines of a file, as far as it can be read: what is damaged is for `pile verify` to name."""
    last = max(rows)
    try:
        for document in read_documents(path):
            if document.line in rows:
                yield rows[document.line], document.text
            if document.line >= last:
                return
    except (OSError, CorruptData):
        return

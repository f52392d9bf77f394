"""What is to be cut out of a document in, the pieces that stay out, by the rule of GPT-3's authors.

Source: Brown et al., Language Models are Few-Shot Learners, 2020, appendix C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from pipelines.decontamination.settings import Against


class Fate(NamedTuple):
    """`pieces` int64[n, 3]: first character, end and bytes of what stays; None where the document goes as a whole.

    `characters` are those that go.
    """

    pieces: NDArray[np.int64] | None
    characters: int


def decide(hits: NDArray[Any], characters: int, text_bytes: int, against: Against) -> Fate:
    """The fate of a document from its hits that count, rows of HIT_TYPE; at least one."""
    if against.action == "drop":
        return Fate(None, characters)
    cuts = merged(hits)
    starts = np.concatenate([[0], cuts["cut_end"]])
    ends = np.concatenate([cuts["cut"], [characters]])
    sizes = np.concatenate([cuts["byte"], [text_bytes]]) - np.concatenate([[0], cuts["byte_end"]])
    pieces = np.stack([starts, ends, sizes], axis=1)[ends > starts]
    whole = len(pieces)
    pieces = pieces[pieces[:, 1] - pieces[:, 0] >= against.shortest_piece]
    if whole > against.most_pieces or not len(pieces):
        return Fate(None, characters)
    return Fate(pieces, characters - int((pieces[:, 1] - pieces[:, 0]).sum()))


def merged(hits: NDArray[Any]) -> NDArray[Any]:
    """Rows of HIT_TYPE for the stretches that their cuts cover: ascending, none of them touching another."""
    ordered = hits[np.argsort(hits["cut"], kind="stable")]
    reached = np.maximum.accumulate(ordered["cut_end"])
    first = np.flatnonzero(np.concatenate([[True], ordered["cut"][1:] > reached[:-1]]))
    stretches = ordered[first].copy()
    stretches["cut_end"] = np.maximum.reduceat(ordered["cut_end"], first)
    stretches["byte_end"] = np.maximum.reduceat(ordered["byte_end"], first)
    return stretches


def covered(hits: NDArray[Any]) -> int:
    """How many characters the cuts cover."""
    stretches = merged(hits)
    return int((stretches["cut_end"] - stretches["cut"]).sum())

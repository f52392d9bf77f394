"""What ids stand for, as who counts them has to know it: the shards themselves know no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the ids of a tokenizer stand for: `token(id)` in printable characters, special tokens by name.

    `white_space` marks, per id, tokens that stand for white space and nothing else.
    """

    size: int
    token: Callable[[int], str]
    special: Mapping[str, int] = field(default_factory=dict)
    white_space: NDArray[np.bool_]

"""What shards and the trainer need of a tokenizer: who calls them hands one in, they do not know where it is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Encoder(Protocol):
    """Text in, ids out; the same text gives the same ids in any batch and with any number of threads."""

    @property
    def vocab_size(self) -> int:
        """The highest id plus one, added tokens included."""

    @property
    def dtype(self) -> np.dtype:
        """uint16 under 65,500 ids, else int32."""

    @property
    def end_of_text(self) -> int:
        """The id that ends a document."""

    @property
    def hash(self) -> str:
        """Names the tokenizer by its content: equal hashes, equal ids for every text."""

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> tuple[NDArray, NDArray[np.int64]]:
        """(ids, offsets): the ids of text i are ids[offsets[i]:offsets[i + 1]]; nothing is added at their ends."""

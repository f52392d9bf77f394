"""What shards and the trainer need of a tokenizer: who calls them hands one in, they do not know where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class CarriedEncoder:
    """An encoder on its way to worker processes, each of which builds it once and not once per task."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __reduce__(self) -> tuple[Any, ...]:
        reduced: Any = self.encoder.__reduce_ex__(2)
        made_by, arguments, *state = reduced
        if any(value is not None for value in state):
            return CarriedEncoder, (self.encoder,)
        return _arrived, (self.encoder.hash, made_by, arguments)


_built: dict[str, CarriedEncoder] = {}


def _arrived(encoder_hash: str, made_by: Callable[..., Encoder], arguments: tuple) -> CarriedEncoder:
    if encoder_hash not in _built:
        # One at a time: a worker that is kept over several runs must not collect their tokenizers.
        _built.clear()
        _built[encoder_hash] = CarriedEncoder(made_by(*arguments))
    return _built[encoder_hash]


def refuse_other_tokenizer(prefix: str | Path, tokenizer_hash: str) -> None:
    """Raises UsageError where the shards of `prefix` were written with another tokenizer than that of this hash.

    Shards of other programs have no manifest beside them and say nothing.
    """
    written = tokenizer_of_shards(prefix)
    if written is not None and written != tokenizer_hash:
        raise UsageError(
            f"the shards {prefix} were written with the tokenizer {written}, this one is {tokenizer_hash}",
            hint="--tokenizer with the tokenizer.json they were written with, or pile shards write with this one",
        )


def tokenizer_of_shards(prefix: str | Path) -> str | None:
    """The hash of the tokenizer in the manifest of the folder of `prefix`, None where it has none."""
    manifest = read_manifest(Path(prefix).parent)
    found = manifest.counts.get("tokenizer") if manifest is not None else None
    return found if isinstance(found, str) else None

"""What counting needs of a tokenizer and of shards: who calls hands them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.stats.lengths import Lengths


class Encoder(Protocol):
    """Text in, ids out."""

    @property
    def hash(self) -> str:
        """Names the tokenizer by its content."""

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> tuple[Any, Any]:
        """(ids, offsets): the ids of text i are ids[offsets[i]:offsets[i + 1]]."""


class Carried(Protocol):
    """An encoder on its way to worker processes."""

    @property
    def encoder(self) -> Encoder:
        """The encoder itself."""


class CountedTokens(Protocol):
    """Tokens that stand in shards already, end-of-text included; nothing is read before `lengths` is called."""

    @property
    def digest(self) -> str:
        """Names the shards by their content."""

    @property
    def tokenizer(self) -> str:
        """The hash of their tokenizer."""

    def lengths(self) -> Mapping[tuple[str, str | None], Lengths]:
        """Tokens of the sequences of each (component, split), copies counted; of (component, None) each once."""

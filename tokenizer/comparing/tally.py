"""Batches of texts in, what one tokenizer makes of them out: per component, per token, and the worst documents."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from tokenizer.comparing.results import LongToken, UnusedToken, VocabularyUse, WorstDocument, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizer.comparing.texts import PlacedText
    from tokenizer.encoder import Encoder

BEGINNING_CHARACTERS = 60


class Count:
    """Tokens of some texts; `solid` ones are those that are not white space, `solid_bytes` what they stand for."""

    __slots__ = ("solid", "solid_bytes", "tokens")

    def __init__(self, tokens: int = 0, solid: int = 0, solid_bytes: int = 0) -> None:
        self.tokens, self.solid, self.solid_bytes = tokens, solid, solid_bytes

    def add(self, tokens: int, solid: int, solid_bytes: int) -> None:
        """Further texts."""
        self.tokens += tokens
        self.solid += solid
        self.solid_bytes += solid_bytes


class Tally:
    """One encoder's counts. Holds a few numbers for each token and each component, however many texts there are."""

    def __init__(self, encoder: Encoder, *, worst: int) -> None:
        self.components: dict[str, Count] = {}
        self._encoder = encoder
        self._special = {token.id for token in encoder.definition.added_tokens if token.special}
        added = {token.id for token in encoder.definition.added_tokens}
        self._ids = sorted(added | set(encoder.definition.vocab.values()))
        self._occurrences = np.zeros(encoder.vocab_size, np.int64)
        self._solid = np.ones(encoder.vocab_size, np.int64)
        self._bytes = np.zeros(encoder.vocab_size, np.int64)
        for token_id in self._ids:
            data = encoder.token_bytes(token_id)
            self._solid[token_id], self._bytes[token_id] = not is_white_space(data), len(data)
        self._most_worst, self._worst = worst, list[tuple[float, int, WorstDocument]]()
        self._documents = 0

    def add(self, batch: Sequence[PlacedText], sizes: Sequence[int], *, threads: int) -> None:
        """Encodes and counts a batch; `sizes` are the UTF-8 bytes of its texts."""
        ids, offsets = self._encoder.encode_batch([text for _, text, _ in batch], threads=threads)
        self._occurrences += np.bincount(ids, minlength=self._occurrences.size)
        solid = self._solid[ids]
        counts = zip(
            (offsets[1:] - offsets[:-1]).tolist(),
            _sums(solid, offsets),
            _sums(solid * self._bytes[ids], offsets),
            strict=True,
        )
        for document, size, (tokens, kept, kept_bytes) in zip(batch, sizes, counts, strict=True):
            self.components.setdefault(document.component, Count()).add(tokens, kept, kept_bytes)
            self._documents += 1
            if tokens:
                self._judge(document, size, tokens)

    def _judge(self, document: PlacedText, size: int, tokens: int) -> None:
        # A heap whose first is the least bad: negated, so that of equal ones the later goes first.
        key = (-size / tokens, -self._documents)
        if len(self._worst) == self._most_worst and (not self._worst or key <= self._worst[0][:2]):
            return
        found = WorstDocument(
            component=printable(document.component),
            place=printable(document.place),
            bytes=size,
            tokens=tokens,
            bytes_per_token=size / tokens,
            begins=printable(document.text[:BEGINNING_CHARACTERS]),
        )
        push = heapq.heappushpop if len(self._worst) == self._most_worst else heapq.heappush
        push(self._worst, (*key, found))

    def worst(self) -> tuple[WorstDocument, ...]:
        """The documents with the fewest bytes per token, the worst first."""
        return tuple(found for *_, found in sorted(self._worst, reverse=True, key=lambda item: item[:2]))

    def vocabulary(self, *, longest: int, unused: int) -> VocabularyUse:
        """The `longest` longest tokens, the unused ones, and up to `unused` examples of these."""
        absent = [token_id for token_id in self._ids if not self._occurrences[token_id]]
        plain = [token_id for token_id in absent if token_id not in self._special]
        merged = [token_id for token_id in plain if self._bytes[token_id] > 1]
        by_length = sorted(self._ids, key=lambda token_id: (-self._bytes[token_id], token_id))
        return VocabularyUse(
            ids=len(self._ids),
            unused=len(absent),
            unused_special=len(absent) - len(plain),
            unused_bytes=len(plain) - len(merged),
            examples=tuple(UnusedToken(id=token_id, token=self._shown(token_id)) for token_id in merged[:unused]),
            longest=tuple(
                LongToken(
                    id=token_id,
                    token=self._shown(token_id),
                    bytes=int(self._bytes[token_id]),
                    occurrences=int(self._occurrences[token_id]),
                )
                for token_id in by_length[:longest]
            ),
        )

    def _shown(self, token_id: int) -> str:
        return printable(self._encoder.token(token_id))


def is_white_space(token: bytes) -> bool:
    """Whether all that a token stands for is white space: whole characters, at least one, as `str.isspace` has them."""
    try:
        return token.decode().isspace()
    except UnicodeDecodeError:
        return False


def _sums(values: np.ndarray, offsets: np.ndarray) -> list[int]:
    """The sum of the values of each text."""
    running = np.zeros(values.size + 1, np.int64)
    np.cumsum(values, out=running[1:])
    at = running[offsets]
    return (at[1:] - at[:-1]).tolist()

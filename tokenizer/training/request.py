"""What to train: the numbers that decide a tokenizer besides its texts, checked before anything is read."""

from __future__ import annotations

import msgspec

from pile_toolkit.core.errors import UsageError
from tokenizer.encoding.limits import LARGEST_VOCAB
from tokenizer.layout import (
    BYTE_COUNT,
    DEFAULT_LAYOUT,
    DEFAULT_MAX_SPACE_RUN,
    DEFAULT_VOCAB_SIZE,
    NEOX_20B_LAYOUT,
    SPECIAL_TOKENS,
    merges_wanted,
)

# A tokenizer of more could be trained, but not used here.
LARGEST_MERGES = LARGEST_VOCAB - len(SPECIAL_TOKENS) - BYTE_COUNT
# What all texts together may count for: their pairs then fit into 64 bits, with room to spare.
LARGEST_CORPUS_BYTES = 2**62


class TextRules(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a text before its words are counted; the same happens before they are encoded.

    `nfc`: the library's NFC, whose Unicode version is not Python's. Runs of 2 to `max_space_run` spaces are cut out;
    with `add_prefix_space` the rest of the text, and what follows a run, begins with a space.
    """

    max_space_run: int
    nfc: bool = False
    add_prefix_space: bool = False

    @property
    def longest_run(self) -> int:
        """The runs of spaces that are left to cut out when words are counted."""
        # With a prefix space they were cut out before, since each piece between them is given one.
        return 1 if self.add_prefix_space else self.max_space_run


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`vocab_size` counts all ids, in the layout of the released 20B file all but the runs of spaces.

    Runs of up to `max_space_run` spaces are single tokens. `allow_smaller` accepts fewer ids where the text has too few
    pairs to merge. Words that occur less than `min_count` times are left out.
    """

    vocab_size: int = DEFAULT_VOCAB_SIZE
    max_space_run: int = DEFAULT_MAX_SPACE_RUN
    layout: str = DEFAULT_LAYOUT
    add_prefix_space: bool = False
    allow_smaller: bool = False
    min_count: int = 1

    def check(self) -> TrainingRequest:
        """The request itself. Raises UsageError where it cannot be met, whatever the texts are."""
        wanted = merges_wanted(self.vocab_size, self.max_space_run, self.layout)
        if wanted > LARGEST_MERGES and not self.allow_smaller:
            largest = self.vocab_size - wanted + LARGEST_MERGES
            raise UsageError(
                f"a vocabulary of {self.vocab_size:,} ids is too large: at most {largest:,} can be used",
                hint=f"--vocab-size {largest} or less",
            )
        if not 1 <= self.min_count <= LARGEST_CORPUS_BYTES:
            raise UsageError(
                f"min_count is {self.min_count}, it must lie between 1 and {LARGEST_CORPUS_BYTES}", hint="--min-count 1"
            )
        return self

    @property
    def merges(self) -> int:
        """How many merges the vocabulary has, at most."""
        return min(merges_wanted(self.vocab_size, self.max_space_run, self.layout), LARGEST_MERGES)

    @property
    def rules(self) -> TextRules:
        """What is done with texts."""
        return TextRules(
            max_space_run=self.max_space_run,
            nfc=self.layout == NEOX_20B_LAYOUT,
            add_prefix_space=self.add_prefix_space,
        )

"""The default vocabulary: special tokens, the 256 bytes, the merges, and last the runs of spaces, longest first.

At 50,257 ids: `<|endoftext|>` = 0, `<|padding|>` = 1, the bytes 2-257, 49,976 merges, and 23 runs of 24 down to
2 spaces, 50,234-50,256. The layout of the released GPT-NeoX-20B file has the runs on top of the vocabulary asked for,
and text in NFC.
"""

from __future__ import annotations

from pile_toolkit.core.errors import UsageError

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
SPECIAL_TOKENS = (END_OF_TEXT, PADDING)
DEFAULT_LAYOUT = "default"
NEOX_20B_LAYOUT = "neox-20b"
LAYOUTS = (DEFAULT_LAYOUT, NEOX_20B_LAYOUT)
DEFAULT_VOCAB_SIZE = 50_257
DEFAULT_MAX_SPACE_RUN = 24
BYTE_COUNT = 256
# Longer runs are rare in any text, and together the tokens grow with the square of the longest.
LARGEST_SPACE_RUN = 1000

# Megatron's index format has uint16 and int32 and no uint32; its rule leaves a little room below 65,536.
INT32_FROM_VOCAB_SIZE = 65_500

# Bytes that no UTF-8 text contains: a byte alphabet may do without them, as the released 20B tokenizer's does.
NEVER_IN_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


def space_run_tokens(max_space_run: int) -> tuple[str, ...]:
    """The runs of `max_space_run` down to 2 spaces; none for 1, because a single space is a byte token."""
    if not 1 <= max_space_run <= LARGEST_SPACE_RUN:
        raise UsageError(
            f"max_space_run is {max_space_run}, it must lie between 1 and {LARGEST_SPACE_RUN}",
            hint="--max-space-run 24",
        )
    return tuple(" " * length for length in range(max_space_run, 1, -1))


def smallest_vocab_size(max_space_run: int, layout: str = DEFAULT_LAYOUT) -> int:
    """Ids that the layout needs before the first merge, of those that a vocabulary size counts.

    Raises UsageError for a layout that does not exist.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"there is no layout {layout!r}", hint=f"--layout {' or '.join(LAYOUTS)}")
    runs = len(space_run_tokens(max_space_run))
    # As in the released 20B file, the runs come on top of the vocabulary that was asked for.
    return len(SPECIAL_TOKENS) + BYTE_COUNT + (runs if layout == DEFAULT_LAYOUT else 0)


def merges_wanted(vocab_size: int, max_space_run: int, layout: str = DEFAULT_LAYOUT) -> int:
    """How many merges a vocabulary of `vocab_size` has. Raises UsageError where not even the bytes fit."""
    smallest = smallest_vocab_size(max_space_run, layout)
    if vocab_size < smallest:
        counted = [f"{len(SPECIAL_TOKENS)} special tokens", f"{BYTE_COUNT} bytes"]
        if runs := smallest - len(SPECIAL_TOKENS) - BYTE_COUNT:
            counted.append(f"{runs} runs of spaces")
        raise UsageError(
            f"a vocabulary of {vocab_size:,} ids is too small: "
            f"{', '.join(counted[:-1])} and {counted[-1]} need {smallest:,}",
            hint=f"--vocab-size {smallest} or more",
        )
    return vocab_size - smallest


def id_dtype(vocab_size: int) -> str:
    """The numpy dtype that ids of such a vocabulary have, in memory and in shards."""
    return "uint16" if vocab_size < INT32_FROM_VOCAB_SIZE else "int32"


def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a tokenizer.json.

    Bytes that print in Latin-1 stand for themselves; the others, in order, are moved up to U+0100 and after, so that
    a vocabulary holds neither blanks nor control characters. Source: GPT-2's encoder (Radford et al., 2019).
    """
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(BYTE_COUNT) if byte not in set(prints)]
    character_of = {byte: chr(byte) for byte in prints} | {byte: chr(0x100 + n) for n, byte in enumerate(moved)}
    return tuple(character_of[byte] for byte in range(BYTE_COUNT))

"""Texts in, a tokenizer out: byte-level BPE, the same for any order of texts and any threads.

The merges are those of the `tokenizers` library's BpeTrainer, in order, for the same pre-tokens; counts have 64 bits.
Runs of 2 to `max_space_run` spaces are cut out before pairs are counted, exactly as they are cut out when encoding, so
that no merge is spent on what has a token already. Ties go to the pair of lower ids. Source: Sennrich et al., 2016
(BPE), Radford et al., 2019 (on bytes), Black et al., 2022 (runs of spaces).
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.runners import available_jobs
from tokenizer.definition import BYTE_LEVEL, AddedToken, Definition
from tokenizer.encoder import Encoder
from tokenizer.layout import (
    DEFAULT_LAYOUT,
    DEFAULT_MAX_SPACE_RUN,
    DEFAULT_VOCAB_SIZE,
    NEOX_20B_LAYOUT,
    SPECIAL_TOKENS,
    byte_characters,
    smallest_vocab_size,
    space_run_tokens,
)
from tokenizer.training.request import LARGEST_CORPUS_BYTES, TrainingRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pile_toolkit.core.console import Reporter
    from tokenizer.training.counting.words import WordCounts


class Trained(NamedTuple):
    """A tokenizer, and how often the pair of its last merge occurred: no other was rarer. None without a merge."""

    encoder: Encoder
    rarest_merge: int | None


def train_tokenizer(
    texts: Iterable[str] | Iterable[tuple[str, int]],
    *,
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    max_space_run: int = DEFAULT_MAX_SPACE_RUN,
    layout: str = DEFAULT_LAYOUT,
    add_prefix_space: bool = False,
    allow_smaller: bool = False,
    min_count: int = 1,
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> Encoder:
    """Trains a tokenizer of exactly `vocab_size` ids on texts, or on pairs of a text and how many times it counts.

    `layout`: "default", or "neox-20b" for that of the released file, with NFC and the runs of spaces on top of
    `vocab_size`. `allow_smaller` accepts fewer ids where the corpus has too few pairs to merge. Words that occur less
    than `min_count` times are left out, and `reporter` is told how many. `threads` count, None for all processors.
    Raises UsageError for a vocabulary too small for the layout or a corpus too small for the vocabulary, CorruptData
    for a lone surrogate.
    """
    request = TrainingRequest(
        vocab_size=vocab_size,
        max_space_run=max_space_run,
        layout=layout,
        add_prefix_space=add_prefix_space,
        allow_smaller=allow_smaller,
        min_count=min_count,
    ).check()
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}, at least 1 is needed", hint="threads=1")
    from tokenizer.training.counting.texts import count_texts
    from tokenizer.training.counting.words import prune
    from tokenizer.training.loading import load_counting

    load_counting()
    counter = count_texts(_counted(texts), request.rules, threads=threads or available_jobs())
    words, dropped = prune([counter], min_count)
    del counter
    if dropped.words:
        reporter.say(str(dropped))
    return train_on_words(words, request, reporter=reporter).encoder


def train_on_words(words: WordCounts, request: TrainingRequest, *, reporter: Reporter = SILENT) -> Trained:
    """The tokenizer of words that are counted. Raises UsageError where they have too few pairs to merge."""
    import numpy as np

    from tokenizer.training.loading import load_merging
    from tokenizer.training.merging.merges import find_merges

    load_merging()
    characters = byte_characters()
    # In the library's order: special tokens, then the characters that stand for bytes by code point.
    tokens = [*SPECIAL_TOKENS, *sorted(characters)]
    symbol_of_byte = np.array([tokens.index(character) for character in characters], np.int32)
    with reporter.progress("merging pairs", total=request.merges, unit="merges") as advance:
        pairs, counts = find_merges(
            words,
            symbol_of_byte=symbol_of_byte,
            first_id=len(tokens),
            limit=request.merges,
            advance=lambda made, count: advance(made, note=f"the last of a pair that occurs {count:,} times"),
        )
    if len(pairs) < request.merges and not request.allow_smaller:
        smallest = smallest_vocab_size(request.max_space_run, request.layout)
        lower = "a lower --min-count, " if request.min_count > 1 else ""
        raise UsageError(
            f"the corpus is too small for {request.vocab_size:,} ids: {len(pairs):,} merges are possible, "
            f"{request.merges:,} are needed",
            hint=f"more text, {lower}--vocab-size {smallest + len(pairs)}, or --allow-smaller",
        )
    merges = []
    for left, right in pairs.tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return Trained(Encoder(_definition(tokens, merges, request)), int(counts[-1]) if merges else None)


def _definition(tokens: list[str], merges: list[tuple[str, str]], request: TrainingRequest) -> Definition:
    spaces = space_run_tokens(request.max_space_run)
    released = request.layout == NEOX_20B_LAYOUT
    ids = [*range(len(SPECIAL_TOKENS)), *range(len(tokens), len(tokens) + len(spaces))]
    byte_level = BYTE_LEVEL | {"add_prefix_space": request.add_prefix_space}
    return Definition(
        added_tokens=tuple(
            AddedToken(
                id=token_id,
                content=content,
                single_word=False,
                lstrip=False,
                rstrip=False,
                # Without NFC found in the text as it stands: should somebody add a normalizer, it cannot make or break
                # a run. The released file looks for runs after it.
                normalized=released and content not in SPECIAL_TOKENS,
                special=content in SPECIAL_TOKENS,
            )
            for token_id, content in zip(ids, [*SPECIAL_TOKENS, *spaces], strict=True)
        ),
        vocab={token: token_id for token_id, token in enumerate(tokens)},
        merges=tuple(merges),
        normalizer={"type": "NFC"} if released else None,
        pre_tokenizer=byte_level,
        post_processor=byte_level,
        decoder=byte_level,
    )


def _counted(texts: Iterable[str] | Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Every text with how often it counts."""
    if isinstance(texts, str):
        raise UsageError("train_tokenizer takes a list of texts, this is one text", hint="train_tokenizer([text])")
    total_bytes = 0
    for number, item in enumerate(texts):
        text, copies = _text_and_copies(number, item)
        # A character has at most four bytes.
        total_bytes += 4 * len(text) * copies
        if total_bytes > LARGEST_CORPUS_BYTES:
            raise UsageError(
                f"the texts count for more than {LARGEST_CORPUS_BYTES:,} bytes, which 64 bits do not hold",
                hint="divide all copies by a number",
            )
        yield text, copies


def _text_and_copies(number: int, item: object) -> tuple[str, int]:
    match (item, 1) if isinstance(item, str) else item:
        case (str() as text, Integral() as copies) if int(copies) >= 0:  # numpy's integers among them
            return text, int(copies)
    raise UsageError(
        f"text {number} is {str(item)[:40]!r}, expected a text, or a text and how often it counts",
        hint='train_tokenizer([("text", 2)])',
    )

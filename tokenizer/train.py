"""Texts in, a tokenizer out: byte-level BPE in the default layout, the same for any order of texts and any threads.

Runs of 2 to `max_space_run` spaces are cut out before pairs are counted, exactly as they are cut out when encoding, so
that no merge is spent on what has a token already. Ties go to the pair of lower ids. Source: Sennrich et al., 2016
(BPE), Radford et al., 2019 (on bytes), Black et al., 2022 (runs of spaces).
"""

from __future__ import annotations

import contextlib
import json
import os
from numbers import Integral
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import UsageError
from tokenizer.definition import BYTE_LEVEL, AddedToken, Definition
from tokenizer.encoder import Encoder, lone_surrogate
from tokenizer.layout import (
    BYTE_COUNT,
    DEFAULT_MAX_SPACE_RUN,
    DEFAULT_VOCAB_SIZE,
    SPECIAL_TOKENS,
    smallest_vocab_size,
    space_run_tokens,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The library counts pairs in signed 32 bits and does not notice an overflow; a corpus has fewer pairs than bytes.
LARGEST_CORPUS_BYTES = 2**31 - 1
# It also reserves memory for as many ids as are asked for, and dies where it gets none; no such corpus has more merges.
LARGEST_REQUEST = 2**24


def train_tokenizer(
    texts: Iterable[str] | Iterable[tuple[str, int]],
    *,
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    max_space_run: int = DEFAULT_MAX_SPACE_RUN,
    allow_smaller: bool = False,
    threads: int | None = None,
) -> Encoder:
    """Trains a tokenizer of exactly `vocab_size` ids on texts, or on pairs of a text and how many times it counts.

    `allow_smaller` accepts fewer ids where the corpus has too few pairs to merge. `threads`: 1 is one thread, None what
    the library takes; its thread pool is made once a process, so that a later number above 1 changes nothing.
    Raises UsageError for a vocabulary too small for the layout, a corpus too small for the vocabulary or above 2 GiB,
    CorruptData for a lone surrogate.
    """
    spaces, smallest = space_run_tokens(max_space_run), smallest_vocab_size(max_space_run)
    if vocab_size < smallest:
        raise UsageError(
            f"a vocabulary of {vocab_size:,} ids is too small: {len(SPECIAL_TOKENS)} special tokens, "
            f"{BYTE_COUNT} bytes and {len(spaces)} runs of spaces need {smallest:,}",
            hint=f"--vocab-size {smallest} or more",
        )
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}, at least 1 is needed", hint="threads=1")
    vocab, merges = _train_bpe(_each_copy(texts), vocab_size - len(spaces), max_space_run, threads)
    found = len(vocab) + len(spaces)
    if found < vocab_size and not allow_smaller:
        raise UsageError(
            f"the corpus is too small for {vocab_size:,} ids: {found - smallest:,} merges are possible, "
            f"{vocab_size - smallest:,} are needed",
            hint=f"more text, --vocab-size {found}, or --allow-smaller",
        )
    return Encoder(_definition(vocab, merges, spaces))


def _definition(vocab: dict[str, int], merges: list[tuple[str, str]], spaces: tuple[str, ...]) -> Definition:
    contents = [*SPECIAL_TOKENS, *spaces]
    added_ids = [*(vocab[token] for token in SPECIAL_TOKENS), *range(len(vocab), len(vocab) + len(spaces))]
    return Definition(
        added_tokens=tuple(
            AddedToken(
                id=token_id,
                content=content,
                single_word=False,
                lstrip=False,
                rstrip=False,
                # Found in the text as it stands: should somebody add a normalizer, it cannot make or break a run.
                normalized=False,
                special=content in SPECIAL_TOKENS,
            )
            for token_id, content in zip(added_ids, contents, strict=True)
        ),
        vocab=dict(sorted(vocab.items(), key=lambda item: item[1])),
        merges=tuple(merges),
        pre_tokenizer=BYTE_LEVEL,
        post_processor=BYTE_LEVEL,
        decoder=BYTE_LEVEL,
    )


def _train_bpe(
    texts: Iterator[str], vocab_size: int, max_space_run: int, threads: int | None
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges in order, from the library's trainer; `vocab_size` counts no runs of spaces."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # Greedy from the left, as added tokens are found: 30 spaces are 24 and 6; of 25 the last goes with what follows.
    runs = pre_tokenizers.Split(Regex(f" {{2,{max_space_run}}}"), behavior="removed")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([runs, byte_level]) if max_space_run > 1 else byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, LARGEST_REQUEST),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    with _library_threads(threads):
        tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _each_copy(texts: Iterable[str] | Iterable[tuple[str, int]]) -> Iterator[str]:
    """Every text as often as it counts; refuses what the library would count wrongly."""
    if isinstance(texts, str):
        raise UsageError("train_tokenizer takes a list of texts, this is one text", hint="train_tokenizer([text])")
    total_bytes = 0
    for number, item in enumerate(texts):
        text, copies = _text_and_copies(number, item)
        try:
            text_bytes = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            raise lone_surrogate(f"text {number}", error) from None
        total_bytes += text_bytes * copies
        if total_bytes > LARGEST_CORPUS_BYTES:
            raise UsageError(
                f"the corpus has more than {LARGEST_CORPUS_BYTES:,} bytes, the trainer counts pairs in 32 bits",
                hint="train on a sample of the documents",
            )
        for _ in range(copies):
            yield text


def _text_and_copies(number: int, item: object) -> tuple[str, int]:
    match (item, 1) if isinstance(item, str) else item:
        case (str() as text, Integral() as copies) if int(copies) >= 0:  # numpy's integers among them
            return text, int(copies)
    raise UsageError(
        f"text {number} is {str(item)[:40]!r}, expected a text, or a text and how often it counts",
        hint='train_tokenizer([("text", 2)])',
    )


@contextlib.contextmanager
def _library_threads(threads: int | None) -> Iterator[None]:
    """Environment variables are the only way to tell the library; both are put back."""
    wanted = {"TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true"}
    if threads is not None:
        wanted["RAYON_NUM_THREADS"] = str(threads)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

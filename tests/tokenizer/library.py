"""Texts in, the merges of the `tokenizers` library out: what the trainer here has to equal, in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenizer.layout import SPECIAL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable


def librarys_merges(pieces: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary and merges that a plain BpeTrainer makes of texts that are cut at runs of spaces already."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(pieces, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]

"""Tokenizer and shards in, what the report says of them out: vocabulary, tokens per component."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.plan import SPLITS
from pile_toolkit.report import data
from pile_toolkit.report.finished import counts_of
from shards.stage import ShardsResult
from shards.stats import shard_stats
from tokenizer.encoder import Encoder
from tokenizer.layout import byte_characters
from tokenizer.stage import TOKENIZER_FILE, TokenizerResult

if TYPE_CHECKING:
    from pile_toolkit.report.finished import Finished

LONGEST_TOKENS = 24


def vocabulary(stage: Finished) -> data.Vocabulary:
    """The tokenizer that was trained here, taken apart."""
    result = counts_of(TokenizerResult, stage)
    encoder = Encoder.load(stage.folder / TOKENIZER_FILE)
    kinds = _kinds(encoder)
    merged = {token_id: len(encoder.token_bytes(token_id)) for token_id in kinds["merged"]}
    longest = sorted(merged, key=lambda token_id: (-merged[token_id], token_id))[:LONGEST_TOKENS]
    return data.Vocabulary(
        vocab_size=result.vocab_size,
        merges=result.merges,
        documents=result.documents,
        copies=result.copies,
        bytes=result.bytes,
        parts=[
            data.VocabularyPart(name=name, tokens=len(ids), first_id=min(ids), last_id=max(ids))
            for name, ids in kinds.items()
            if ids
        ],
        lengths=[
            data.TokenLength(bytes=length, tokens=tokens) for length, tokens in sorted(Counter(merged.values()).items())
        ],
        longest=[data.Token(id=token_id, text=encoder.token(token_id), bytes=merged[token_id]) for token_id in longest],
    )


def _kinds(encoder: Encoder) -> dict[str, list[int]]:
    """Every id under the kind of its token."""
    added = {token.id: token for token in encoder.definition.added_tokens}
    alphabet = set(byte_characters())
    kinds: dict[str, list[int]] = {"special": [], "byte": [], "merged": [], "run of spaces": [], "other added": []}
    for token in added.values():
        kind = "special" if token.special else "run of spaces" if not token.content.strip(" ") else "other added"
        kinds[kind].append(token.id)
    for content, token_id in encoder.definition.vocab.items():
        if token_id not in added:
            kinds["byte" if content in alphabet else "merged"].append(token_id)
    return kinds


def shards(stage: Finished) -> data.Shards:
    """Every split that has shards, counted over its index."""
    result = counts_of(ShardsResult, stage)
    sizes: Counter[str] = Counter()
    for output in stage.manifest.outputs:
        sizes[output.path.split(".")[0]] += output.bytes
    return data.Shards(
        vocab_size=result.vocab_size,
        tokenizer=result.tokenizer,
        dtype=result.dtype,
        splits=[
            data.SplitShards(
                split=split,
                file_bytes=sizes[split],
                # As the root knows it, so that a moved root says the same.
                stats=msgspec.structs.replace(shard_stats(stage.folder / split), prefix=f"{stage.name}/{split}"),
            )
            for split in SPLITS
            if split in result.splits
        ],
    )

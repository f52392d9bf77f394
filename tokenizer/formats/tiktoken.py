"""A file of tiktoken ranks: every line a token in base64 and its rank, which is its id and its place in the merges.

Merges are not in it, they are recovered: the last two parts that a token's own bytes become under the lower ranks are
the pair that makes it. Where that succeeds for all tokens the merges give tiktoken's ids for every text: as long as no
merge crosses the borders of a token, its bytes are merged as they would be alone. Special tokens are not in it either.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.jsonfile import TOKENIZER_LIMIT_BYTES, read_bounded
from tokenizer.definition import REPAIR, Definition, brief
from tokenizer.formats.assembly import assemble, missing_ids
from tokenizer.formats.foreign import RANKS, refuse_foreign
from tokenizer.layout import END_OF_TEXT, NEVER_IN_UTF8, byte_characters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The sum of squares of the tokens' lengths, which the time to recover merges grows with; GPT-2's has 2.9 million.
MOST_WORK = 200_000_000
LARGEST_RANK = 2**31 - 2


def read_tiktoken(path: Path, special_tokens: Mapping[str, int | None] | None = None) -> Definition:
    """The tokenizer of a file of ranks. Without `special_tokens`, `<|endoftext|>` has the first id that no rank has.

    Raises CorruptData for a damaged file, UsageError for one whose tokens GPT-2's regular expression never makes.
    """
    data = read_bounded(path, limit_bytes=TOKENIZER_LIMIT_BYTES, hint=REPAIR)
    refuse_foreign(data, name=str(path), reads=(RANKS,))
    ranks = parse_ranks(data, name=str(path))
    character_of = byte_characters()
    spell = {token: "".join(map(character_of.__getitem__, token)) for token in ranks}
    merges = [(spell[left], spell[right]) for left, right in recover_merges(ranks, name=str(path))]
    vocab = {spell[token]: rank for token, rank in ranks.items()}
    if special_tokens is None:
        gaps = missing_ids(vocab.values())
        special_tokens = {END_OF_TEXT: gaps[0] if gaps else len(vocab)}
    return assemble(vocab, merges, special_tokens, name=str(path))


def parse_ranks(data: bytes, *, name: str) -> dict[bytes, int]:
    """Tokens and their ranks; raises CorruptData, naming the line, for what is no such pair or there twice."""
    ranks: dict[bytes, int] = {}
    line_of: dict[int, int] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            encoded, written = line.split()
            token, rank = base64.b64decode(encoded, validate=True), int(written)
        except (ValueError, binascii.Error) as error:
            raise CorruptData(
                f"line {number} of {name} is {brief(line)}, not a token in base64 and its rank", hint=REPAIR
            ) from error
        if not token or not 0 <= rank <= LARGEST_RANK:
            raise CorruptData(f"line {number} of {name} has an empty token or a rank out of range", hint=REPAIR)
        if token in ranks:
            raise CorruptData(f"line {number} of {name} is the token {brief(token)} again", hint=REPAIR)
        if line_of.setdefault(rank, number) != number:
            raise CorruptData(f"lines {line_of[rank]} and {number} of {name} both have the rank {rank}", hint=REPAIR)
        ranks[token] = rank
    return ranks


def recover_merges(ranks: Mapping[bytes, int], *, name: str) -> list[tuple[bytes, bytes]]:
    """The pair that makes each token of several bytes, in order of rank.

    Raises CorruptData where a byte of UTF-8 has no rank or a token is not made of tokens of lower ranks.
    """
    lacking = [byte for byte in range(256) if byte not in NEVER_IN_UTF8 and bytes([byte]) not in ranks]
    if lacking:
        raise CorruptData(f"{name} has no rank for {len(lacking)} bytes, such as 0x{lacking[0]:02x}", hint=REPAIR)
    if sum(len(token) ** 2 for token in ranks) > MOST_WORK:
        longest = max(map(len, ranks))
        raise UsageError(
            f"{name} has tokens of up to {longest:,} bytes, too long together to recover merges",
            hint=REPAIR,
        )
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            pair = _last_pair(token, rank, ranks)
            if pair is None:
                raise CorruptData(
                    f"{name}: the token {brief(token)} of rank {rank} is not made of two tokens of lower ranks",
                    hint=REPAIR,
                )
            merges.append(pair)
    return merges


def _last_pair(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        # As tiktoken does it: the lowest rank, of equal ones the first.
        lowest, place = min((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1))
        if lowest >= rank:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    left, right = parts
    # Of single bytes the rank does not matter, only that there is one.
    return (left, right) if left in ranks and right in ranks else None


def tiktoken_ranks(definition: Definition, *, name: str) -> bytes:
    """The ranks of all tokens that are not special, of a definition that holds nothing else.

    Raises UsageError where the merges that readers recover from the ranks would not be those of the definition.
    """
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    special = {token.content for token in definition.added_tokens}
    made = {left + right for left, right in definition.merges}
    ranks = {
        bytes(map(byte_of.__getitem__, token)): rank
        for token, rank in definition.vocab.items()
        if token not in special and (token in byte_of or token in made)
    }
    try:
        recovered = recover_merges(ranks, name=name)
    except CorruptData as error:
        raise UsageError(f"{error.message}, as tiktoken needs it", hint="--to tokenizer.json") from error
    merges = [
        (bytes(map(byte_of.__getitem__, left)), bytes(map(byte_of.__getitem__, right)))
        for left, right in definition.merges
    ]
    if recovered != merges:
        raise UsageError(
            f"{name} has merges in another order than ids, from which tiktoken takes it", hint="--to tokenizer.json"
        )
    in_order = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in in_order)

"""A vocabulary, merges and special tokens in, a checked definition in the layout of those trained here out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pile_toolkit.core.errors import CorruptData, UsageError
from tokenizer.definition import BYTE_LEVEL, KIND, REPAIR, AddedToken, Definition, brief, parse, render
from tokenizer.formats.foreign import ANOTHER
from tokenizer.formats.pattern import check_pattern
from tokenizer.layout import SPECIAL_TOKENS, byte_characters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMED_AT_MOST = 5


def assemble(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special_tokens: Mapping[str, int | None] | None,
    *,
    name: str,
) -> Definition:
    """The definition that encodes as these files do; without `special_tokens` those of GPT-2 and GPT-NeoX are taken.

    Raises UsageError for files of another kind, CorruptData where they contradict each other.
    """
    special = _with_ids(vocab, special_tokens, name)
    made = {left + right for left, right in merges}
    tokens = [token for token in vocab if token not in special]
    _check_byte_level(tokens, name)
    _check_complete(tokens, made, name)
    everything = {**vocab, **special}
    _check_ids(everything, name)
    check_pattern(made.intersection(tokens), name=name)
    definition = Definition(
        added_tokens=tuple(
            AddedToken(
                id=token_id,
                content=content,
                single_word=False,
                lstrip=False,
                rstrip=False,
                normalized=False,
                special=True,
            )
            for content, token_id in sorted(special.items(), key=lambda item: item[1])
        ),
        vocab=everything,
        merges=tuple(merges),
        pre_tokenizer=BYTE_LEVEL,
        post_processor=BYTE_LEVEL,
        decoder=BYTE_LEVEL,
    )
    # Read as any file is, so that what is refused there is refused here.
    return parse(render(definition), name=name)


def _with_ids(vocab: Mapping[str, int], special_tokens: Mapping[str, int | None] | None, name: str) -> dict[str, int]:
    if special_tokens is None:
        return {token: vocab[token] for token in SPECIAL_TOKENS if token in vocab}
    special = {}
    for token, token_id in special_tokens.items():
        found = vocab.get(token) if token_id is None else token_id
        if found is None:
            raise UsageError(
                f"{name} has no token {brief(token)} whose id the special token could have",
                hint=f"--special '{token}=ID'",
            )
        if vocab.get(token, found) != found:
            raise UsageError(
                f"{name} gives {brief(token)} the id {vocab[token]}, not {found}",
                hint=f"--special '{token}={vocab[token]}'",
            )
        special[token] = found
    return special


def _check_byte_level(tokens: Sequence[str], name: str) -> None:
    alphabet = set(byte_characters())
    foreign = next((token for token in tokens if not alphabet.issuperset(token)), None)
    if foreign is not None:
        raise UsageError(f"{name} is not {KIND}: {brief(foreign)} is no token of bytes", hint=ANOTHER)
    if sum(token.endswith("</w>") for token in tokens) > len(tokens) // 10:
        raise UsageError(f"{name} is not {KIND}: its words end in '</w>', as CLIP's and GPT-1's do", hint=ANOTHER)


def _check_complete(tokens: Sequence[str], made: set[str], name: str) -> None:
    """Every token is a byte or made by a merge; whatever else there is would be text to us and a token to others."""
    alphabet = set(byte_characters())
    unmade = [token for token in tokens if token not in alphabet and token not in made]
    if len(unmade) > NAMED_AT_MOST:
        raise CorruptData(
            f"{name}: no merge makes {len(unmade):,} entries of the vocabulary, such as {brief(unmade[0])}",
            hint="the two files belong to different tokenizers, or one is cut off: fetch both again",
        )
    if unmade:
        raise UsageError(
            f"{name}: no merge makes {', '.join(map(brief, unmade))}",
            hint=" ".join(f"--special '{token}'" for token in unmade) + ", where these are special tokens",
        )


def _check_ids(everything: Mapping[str, int], name: str) -> None:
    if not everything:
        raise CorruptData(f"{name} has no tokens", hint=REPAIR)
    missing = missing_ids(everything.values())
    if missing:
        shown = ", ".join(map(str, missing[:NAMED_AT_MOST])) + (" ..." if len(missing) > NAMED_AT_MOST else "")
        raise UsageError(
            f"{name} has {len(everything):,} tokens and none with the id {shown}",
            hint=f"--special NAME={missing[0]}, where a special token has it",
        )


def missing_ids(ids: Iterable[int]) -> list[int]:
    """The first ids that are not there though higher ones are: one more at most than an error names."""
    known = set(ids)
    # Of so many numbers from 0 on that many are missing at least, whatever the highest is.
    candidates = range(min(max(known, default=0), len(known) + NAMED_AT_MOST + 1))
    return [expected for expected in candidates if expected not in known][: NAMED_AT_MOST + 1]

"""A text in, what is to be encoded and the added tokens between out, exactly as the `tokenizers` library cuts them.

The library looks for added tokens twice: for those that are not `normalized` in the text as it stands, then for the
others in what is left and normalized; each time for the leftmost, of several there for the longest. A special token
that counts as text still hides what lies inside of it. Runs of spaces are left to the kernel wherever no other token
can meddle with them; what cannot be cut exactly is refused when the tokenizer is loaded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import UsageError
from tokenizer.normalization.library import library_nfc
from tokenizer.pretokens import ranges
from tokenizer.pretokens.tables import spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenizer.definition import AddedToken, Definition

NO_TOKEN = -1
_BLANKS = "".join(chr(code) for first, end in spans(ranges.WHITE_SPACE) for code in range(first, end))


def check_added_tokens(definition: Definition, *, data: bytes, name: str) -> None:
    """Raises UsageError, naming the field, for added tokens whose ids or places would not be the library's.

    `data` is the definition's tokenizer.json.
    """
    id_in_library = _numbered_by_library(definition, data)
    seen: dict[str, str] = {}
    for token in definition.added_tokens:
        if token.single_word:
            raise UsageError(
                f"{name}: added_tokens gives {token.content!r} single_word, which is not supported",
                hint="set single_word to false",
            )
        if (token.lstrip or token.rstrip) and token.content != token.content.strip():
            # The library's search begins behind the white space that such a token swallows, which is its own text too.
            raise UsageError(
                f"{name}: added_tokens gives {token.content!r}, which has white space at its end, lstrip or rstrip",
                hint="set lstrip and rstrip to false",
            )
        if (found := id_in_library[token.content]) != token.id:
            raise UsageError(
                f"{name}: added_tokens gives {token.content!r} the id {token.id}, the tokenizers library {found}",
                hint="number added tokens from the vocabulary's size on, without gaps",
            )
        normalized = _pattern_of(token, definition)
        if seen.setdefault(normalized, token.content) != token.content:
            raise UsageError(
                f"{name}: added_tokens has {token.content!r} and {seen[normalized]!r}, which are one after NFC",
                hint="set normalized to false",
            )


def _numbered_by_library(definition: Definition, data: bytes) -> dict[str, int | None]:
    """The library numbers added tokens itself, one after the other, whatever the file says."""
    vocab, added = definition.vocab, definition.added_tokens
    if max(vocab.values(), default=-1) < len(vocab):
        new = [token.content for token in added if token.content not in vocab]
        return {token.content: vocab.get(token.content) for token in added} | {
            content: len(vocab) + place for place, content in enumerate(new)
        }
    # With gaps in the vocabulary it depends on more than that: the library is asked.
    from tokenizers import Tokenizer

    library = Tokenizer.from_str(data.decode())
    return {token.content: library.token_to_id(token.content) for token in added}


class Cutter:
    """How texts of one tokenizer are cut. Where `whole`, every text is one piece and `pieces` need not be asked.

    `run_tokens` are the ids by length of the runs of spaces that are left in the pieces; empty where none are.
    """

    def __init__(self, definition: Definition, *, allow_special: bool) -> None:
        self.normalize = definition.normalizer is not None
        self._prefix = bool(definition.pre_tokenizer.get("add_prefix_space", True))
        runs = [token for token in definition.added_tokens if not token.content.strip(" ") and not token.special]
        others = [token for token in definition.added_tokens if token not in runs]
        in_kernel = (
            bool(runs) and not self._prefix and _plain(runs) and not any(" " in token.content for token in others)
        )
        if in_kernel:
            ids = {len(token.content): token.id for token in runs}
            self.run_tokens: tuple[int, ...] = (0, 0, *(ids[length] for length in range(2, len(runs) + 2)))
        else:
            self.run_tokens = ()
            others = list(definition.added_tokens)
        # Special tokens that are text matter only where they hide others.
        wanted = others if allow_special or not all(token.special for token in others) else []
        ignored = {token.content for token in wanted if token.special and not allow_special}
        self._raw = _Search([token for token in wanted if not token.normalized], definition, ignored)
        self._normalized = _Search([token for token in wanted if token.normalized], definition, ignored)
        self.whole = not wanted and not self._prefix

    def pieces(self, text: str) -> Iterator[tuple[str, int]]:
        """Pieces in order, normalized, each with the id that follows it or NO_TOKEN; empty where two tokens meet."""
        for raw, token in self._raw.split(text):
            piece = _normalized(raw) if self.normalize and not raw.isascii() else raw
            waiting = None
            for inner, following in self._normalized.split(piece):
                if waiting is not None:
                    yield waiting
                prefixed = " " + inner if self._prefix and inner and not inner.startswith(" ") else inner
                waiting = (prefixed, following)
            last, following = waiting if waiting is not None else ("", NO_TOKEN)
            if following == NO_TOKEN:
                yield last, token
            else:
                yield last, following
                yield "", token


def _normalized(text: str) -> str:
    # Here, because it brings a compiler.
    from tokenizer.normalization.nfc import normalize

    return normalize(text.encode()).decode()


class _Search:
    """Looks for some added tokens as the library's automaton does."""

    def __init__(self, tokens: Sequence[AddedToken], definition: Definition, ignored: set[str]) -> None:
        self._token_of = {_pattern_of(token, definition): token for token in tokens}
        self._ignored = ignored
        # Of alternatives the first that fits is taken, so the longest stand first.
        longest_first = sorted(self._token_of, key=len, reverse=True)
        self._expression = re.compile("|".join(map(re.escape, longest_first))) if tokens else None

    def split(self, text: str) -> Iterator[tuple[str, int]]:
        """Texts between the tokens, each with the id that follows it; the last with NO_TOKEN."""
        done = 0
        for match in self._expression.finditer(text) if self._expression else ():
            token = self._token_of[match.group()]
            if token.content in self._ignored:
                continue
            start, end = match.span()
            if token.lstrip:
                start = max(done, len(text[:start].rstrip(_BLANKS)))
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip(_BLANKS))
            yield text[done:start], token.id
            done = end
        yield text[done:], NO_TOKEN


def _pattern_of(token: AddedToken, definition: Definition) -> str:
    needs = token.normalized and definition.normalizer is not None and not token.content.isascii()
    return library_nfc()(token.content) if needs else token.content


def _plain(runs: Sequence[AddedToken]) -> bool:
    """Whether these are all lengths from 2 up to the longest, once each, looked for at the same time."""
    lengths = sorted(len(token.content) for token in runs)
    alike = len({token.normalized for token in runs}) == 1
    return (
        alike and lengths == list(range(2, len(runs) + 2)) and not any(token.lstrip or token.rstrip for token in runs)
    )

"""The `tokenizers` library's engines in, `ranges.py` out: which code points they take for what.

    python -m tokenizer.pretokens.generate

Run it after changing the pinned version of `tokenizers`; a test compares all code points and names the difference.
Asked is the library and not Python's `unicodedata`, because neither its regular expressions nor its NFC have the same
Unicode version: \\p{L} alone differs at some 9,300 code points.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, __version__, normalizers, pre_tokenizers

from pile_toolkit.core.files import write_bytes

RANGES_FILE = Path(__file__).with_name("ranges.py")
LINE_WIDTH = 116
SURROGATES = range(0xD800, 0xE000)
# Marks of the lowest and the highest combining class: whatever is no starter changes places with one of them.
LOWEST_CLASS, HIGHEST_CLASS = "\u0334", "\u0345"


def matching(expression: str) -> list[int]:
    """The code points that a one-character regular expression matches."""
    everything = "".join(chr(code) for code in range(0x110000) if code not in SURROGATES)
    others_removed = pre_tokenizers.Split(Regex(f"(?:(?!{expression}).)+|\\n(?<!{expression})"), behavior="removed")
    spans = [span for _, span in others_removed.pre_tokenize_str(everything)]
    return [ord(character) for first, end in spans for character in everything[first:end]]


def changed_by_nfc() -> list[int]:
    """The code points that stop a quick look: a text without any of them is normalized already.

    Left out are those that NFC leaves alone, whose decomposition starts with a starter, and where no composition has
    this starter in second place: whatever stands around such a character, nothing moves across its front.
    """
    composed, decomposed = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    characters = [chr(code) for code in range(0x110000) if code not in SURROGATES]
    parts = {character: decomposed(character) for character in characters}
    second = {part for decomposition in parts.values() for part in decomposition[1:]}

    def starts(character: str) -> bool:
        moved = (
            decomposed(character + LOWEST_CLASS)[0] != character
            or decomposed(HIGHEST_CLASS + character)[0] == character
        )
        return not moved and character not in second

    return [ord(c) for c in characters if composed(c) != c or not starts(parts[c][0])]


def as_ranges(codes: list[int]) -> str:
    """`41-5a aa b5`: runs of consecutive code points, hexadecimal."""
    runs: list[list[int]] = []
    for code in codes:
        # Surrogates are in no text; a run may go on across them.
        if runs and code in (runs[-1][1] + 1, SURROGATES.stop) and runs[-1][1] + 1 in (code, SURROGATES.start):
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return " ".join(f"{first:x}-{last:x}" if last > first else f"{first:x}" for first, last in runs)


def render(tables: dict[str, list[int]]) -> str:
    """The module's text."""
    lines = [
        f'"""Code points as tokenizers {__version__} sees them. Made by `python -m tokenizer.pretokens.generate`."""',
        "",
        f'TOKENIZERS_VERSION = "{__version__}"',
    ]
    for name, codes in tables.items():
        lines += ["", f'{name} = """']
        line = ""
        for word in as_ranges(codes).split():
            if len(line) + len(word) >= LINE_WIDTH:
                lines.append(line)
                line = ""
            line += f" {word}" if line else word
        lines += [line, '"""']
    return "\n".join(lines) + "\n"


def tables() -> dict[str, list[int]]:
    """All that `ranges.py` holds, asked of the library: some 20 s."""
    return {
        "LETTERS": matching(r"\p{L}"),
        "NUMBERS": matching(r"\p{N}"),
        "WHITE_SPACE": matching(r"\s"),
        "CHANGED_BY_NFC": changed_by_nfc(),
    }


if __name__ == "__main__":
    write_bytes(RANGES_FILE, render(tables()).encode())

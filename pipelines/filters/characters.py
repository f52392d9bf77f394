"""Which characters are punctuation, which end a sentence, and what a word is made of; all as datatrove has it."""

from __future__ import annotations

# Ends of sentences in all scripts, as code points; close to Unicode's Sentence_Terminal, but for 19 characters.
_TERMINAL = """
21 2E 3F 589 61D 61E 61F 6D4 700 701 702 7F9 837 839 83D 83E 964 965 104A 104B 1362 1367 1368 166E 1735 1736 17D4 17D5
17D6 17D9 17DA 1803 1809 1944 1945 1AA8 1AA9 1AAA 1AAB 1B5A 1B5B 1B5E 1B5F 1B7D 1B7E 1C3B 1C3C 1C7E 1C7F 203C 203D 2047
2048 2049 2E2E 2E3C 2E53 2E54 3002 A4FF A60E A60F A6F3 A6F7 A876 A877 A8CE A8CF A92F A9C8 A9C9 AA5D AA5E AA5F AAF0 AAF1
ABEB FE52 FE56 FE57 FF01 FF0E FF1F FF61 10A56 10A57 10F55 10F56 10F57 10F58 10F59 10F86 10F87 10F88 10F89 11047 11048
110BE 110BF 110C0 110C1 11141 11142 11143 111C5 111C6 111CD 111DE 111DF 11238 11239 1123B 1123C 112A9 1144B 1144C 115C2
115C3 115C9 115CA 115CB 115CC 115CD 115CE 115CF 115D0 115D1 115D2 115D3 115D4 115D5 115D6 115D7 11641 11642 1173C 1173D
1173E 11944 11946 11A42 11A43 11A9B 11A9C 11C41 11C42 11EF7 11EF8 11F43 11F44 16A6E 16A6F 16AF5 16B37 16B38 16B44 16E98
1BC9F 1DA88
"""
# ASCII's, and the most frequent of Latin and Chinese texts; the controls but for tab, line feed and 9F's successors.
_OTHERS = """
22 23 24 25 26 27 28 29 2A 2B 2C 2D 2F 3A 3B 3C 3D 3E 40 5B 5C 5D 5E 5F 60 7B 7C 7D 7E AB B4 BB 2013 2014 2019 201C 201D
201E 2026 2236 2501 25BA 3001 3008 3009 300A 300B 300C 300D 3010 3011 FF05 FF08 FF09 FF0C FF11 FF1A FF1B FF5E
"""
_CONTROLS = (*range(9), *range(11, 32), *range(127, 160))

TERMINAL = frozenset(chr(int(point, 16)) for point in _TERMINAL.split())
PUNCTUATION = TERMINAL | {chr(int(point, 16)) for point in _OTHERS.split()} | set(map(chr, _CONTROLS))

# Kinds of words from here on have a letter.
WITH_LETTER = 2

_MOST_WORDS = 1 << 18
_LONGEST_WORD = 64


class WordKinds(dict[str, int]):
    """What words are made of, worked out once a word: 1 if not of punctuation only, 2 more if it has a letter.

    Bounded: long words, and those after many others, are worked out each time.
    """

    def __missing__(self, word: str) -> int:
        kind = int(not PUNCTUATION.issuperset(word)) + WITH_LETTER * any(map(str.isalpha, word))
        if len(word) <= _LONGEST_WORD:
            if len(self) >= _MOST_WORDS:
                self.clear()
            self[word] = kind
        return kind

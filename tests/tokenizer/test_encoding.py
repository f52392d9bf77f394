"""Unusual tokenizers, long inputs, threads, caches, the first start: the library's ids, or a refusal with the field."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from pile_toolkit.core.errors import UsageError
from tokenizer.definition import AddedToken, Definition, render
from tokenizer.encoder import Encoder
from tokenizer.encoding import caches
from tokenizer.encoding.caches import CACHE_BYTES, LIMIT_BYTES, MOST_CACHES, Pool
from tokenizer.encoding.ids import CHARACTERS_PER_ID
from tokenizer.layout import NEVER_IN_UTF8, byte_characters

CONTENTS = [
    *(
        "<|endoftext|>",
        "<|",
        "|>",
        "<|e",
        " ",
        "  ",
        "   ",
        "    ",
        "\t",
        "a",
        "ab",
        "ba",
        " a",
        "a ",
        "  a",
        "a  b",
        "\n",
    ),
    *("é", "e\u0301", "\u0301", "\u212b", "Å", ">\u0338", "中", "'s", "x x", "\u00a0"),
]
PARTS = [*CONTENTS, " " * 5, " " * 9, "b", "c", "The", "don't", "1", "\u0327", "\u2028", "\r\n", "👩‍👧"]
TEXT = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=20).map("".join)
REPOSITORY = Path(__file__).resolve().parents[2]


@st.composite
def tokenizers(draw) -> Definition:
    """Byte-level BPE with any added tokens, flags, normalizer, prefix space and holes that the format can say."""
    characters = byte_characters()
    holes = draw(st.sets(st.sampled_from(sorted({*NEVER_IN_UTF8, ord("b"), 0xCC, 0x0A})), max_size=4))
    tokens = [character for byte, character in enumerate(characters) if byte not in holes]
    merges = []
    for pair in draw(
        st.lists(st.sampled_from(["Ġ a", "a b", "Ġ Ġ", "ĠĠ Ġ", "Ã ©", "t h", "' s", "ä ¸", "ab a", "< |"]), unique=True)
    ):
        left, right = pair.split()
        if left in tokens and right in tokens and left + right not in tokens:
            merges.append((left, right))
            tokens.append(left + right)
    first = draw(st.sampled_from([0, 7, 70_000]))
    vocab = {token: first + place for place, token in enumerate(tokens)}
    normalizer = draw(st.sampled_from([None, {"type": "NFC"}]))
    added, patterns = [], set()
    highest = None
    for content in draw(st.lists(st.sampled_from(CONTENTS), max_size=6, unique=True)):
        pattern = normalizers.NFC().normalize_str(content)
        if pattern in patterns:
            continue
        patterns.add(pattern)
        token_id = vocab.get(content, max(len(vocab), -1 if highest is None else highest + 1))
        if content not in vocab and (token_id in vocab.values() or token_id in {token.id for token in added}):
            continue
        highest = max(token_id, -1 if highest is None else highest)
        flags = {name: draw(st.booleans()) for name in ("lstrip", "rstrip", "normalized", "special")}
        added.append(AddedToken(id=token_id, content=content, single_word=False, **flags))
    prefix = draw(st.booleans())
    byte_level = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True}
    return Definition(
        added_tokens=tuple(sorted(added, key=lambda token: token.id)),
        vocab=vocab,
        merges=tuple(merges),
        normalizer=normalizer,
        pre_tokenizer=byte_level,
        decoder=byte_level,
    )


@settings(max_examples=150)
@given(definition=tokenizers(), texts=st.lists(TEXT, min_size=1, max_size=4))
def test_any_tokenizer_of_the_kind_is_followed_exactly_or_refused(definition, texts):
    try:
        encoder = Encoder(definition)
    except UsageError as refusal:
        if "added_tokens" not in str(refusal):
            raise
        return
    library = Tokenizer.from_str(render(definition).decode())
    for allow_special in (False, True):
        library.encode_special_tokens = not allow_special
        ids, offsets = encoder.encode_batch(texts, allow_special=allow_special)
        for number, text in enumerate(texts):
            expected = library.encode(text, add_special_tokens=False).ids
            assert ids[offsets[number] : offsets[number + 1]].tolist() == expected
            assert encoder.encode(text, allow_special=allow_special).tolist() == expected


def variant(encoder: Encoder, **changes) -> Definition:
    *others, last = encoder.definition.added_tokens
    return msgspec.structs.replace(encoder.definition, added_tokens=(*others, msgspec.structs.replace(last, **changes)))


def test_what_cannot_be_followed_is_refused_by_field(small):
    with pytest.raises(UsageError, match="added_tokens gives '  ' single_word"):
        Encoder(variant(small, single_word=True))
    with pytest.raises(UsageError, match=r"added_tokens gives '  ' the id 9999, the tokenizers library \d+"):
        Encoder(variant(small, id=9999))


def long_texts() -> dict[str, str]:
    draw = random.Random(4)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return {
        "a": "a" * 1_000_000,
        "base64": "".join(draw.choices(letters, k=1_000_000)),
        "letters": "".join(draw.choices(letters[:52], k=1_000_000)),
        "Chinese": "".join(map(chr, draw.choices(range(0x4E00, 0x9FA5), k=333_333))),
        "digits": "".join(draw.choices("0123456789", k=1_000_000)),
        "zero bytes": "\0" * 1_000_000,
        "combining marks": "".join(map(chr, draw.choices(range(0x300, 0x370), k=500_000))),
        "spaces": " " * 1_000_000,
        "new lines": "\n" * 1_000_000,
    }


@pytest.mark.parametrize("name", long_texts())
def test_a_megabyte_without_a_space_gets_the_librarys_ids(neox, gpt2, name):
    text = long_texts()[name]
    for pair in (neox, gpt2):
        assert pair.ours.encode(text).tolist() == pair.expected(text)


def test_caches_of_any_state_give_the_same_ids(neox):
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzäöü中", k=draw.randint(1, 40))) for _ in range(150_000)]
    text = " ".join(words)
    with caches.borrow("somebody else") as room:
        room.cache[:] = 0
    first = neox.ours.encode(text)
    again = neox.ours.encode(text)
    backwards = neox.ours.encode(" ".join(reversed(words)))
    assert np.array_equal(first, again)
    assert np.array_equal(first, neox.ours.encode(text))
    assert neox.ours.decode(backwards) == " ".join(reversed(words))
    assert first[:5000].tolist() == neox.expected(text)[:5000]


def test_all_caches_together_stay_within_the_stated_limit():
    assert MOST_CACHES * CACHE_BYTES <= LIMIT_BYTES == 256 << 20
    pool = Pool(most=3)
    seen = set()
    inside = threading.Semaphore(3)

    def work(owner: int) -> None:
        with pool.borrow(f"tokenizer {owner % 5}") as room:
            assert inside.acquire(blocking=False), "more than three at a time"
            assert not room.cache.any() or room.cache[0] == owner % 5 + 1
            room.cache[0] = owner % 5 + 1
            seen.add(id(room))
            inside.release()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(500)))
    assert len(seen) == 3


def test_a_tokenizer_gets_back_the_cache_that_it_filled():
    pool = Pool(most=2)
    with pool.borrow("a") as first, pool.borrow("b") as second:
        first.cache[0], second.cache[0] = 1, 2
    for owner, kept in (("b", 2), ("a", 1), ("b", 2), ("c", 0), ("a", 0)):
        with pool.borrow(owner) as room:
            assert room.cache[0] == kept
    # "c" took the place of "a", which was not used for the longest time.


def test_a_workspace_is_as_small_as_before_after_a_long_text():
    pool = Pool(most=1)
    with pool.borrow("a") as room:
        before = [array.size for array in (*room.scratch, room.text)]
        room.fit_scratch(5_000_000)
        room.put([b"x" * 5_000_000])
        assert min(array.size for array in (*room.scratch, room.text)) >= 5_000_000
    with pool.borrow("a") as room:
        assert [array.size for array in (*room.scratch, room.text)] == before


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), threads=st.integers(2, 5))
def test_many_threads_on_several_tokenizers_do_not_disturb_each_other(small, neox, gpt2, seed, threads):
    draw = random.Random(seed)
    texts = ["".join(draw.choices(PARTS, k=2000)) for _ in range(24)]
    encoders = [small, neox.ours, gpt2.ours]
    expected = [[encoder.encode(text).tolist() for text in texts] for encoder in encoders]
    with ThreadPoolExecutor(threads) as pool:
        jobs = [(which, number) for which in range(3) for number in range(len(texts))]
        found = pool.map(lambda job: encoders[job[0]].encode(texts[job[1]]).tolist(), jobs)
        assert list(found) == [expected[which][number] for which, number in jobs]


@pytest.mark.parametrize("threads", [1, 3])
def test_texts_of_more_ids_than_characters_have_room(small, threads):
    texts = ["\U0001f9ff" * 200_000, "the quick " * 100_000, "", "\u4e2d\u0301" * 300_000, "\x00 " * 300_000] * 2
    assert sum(map(len, texts)) // CHARACTERS_PER_ID < sum(map(len, map(small.encode, texts)))
    ids, offsets = small.encode_batch(texts, threads=threads)
    for number, text in enumerate(texts):
        assert small.decode(ids[offsets[number] : offsets[number + 1]]) == text


SCRIPT = """
import sys
from tokenizer.encoder import Encoder
print(Encoder.load(sys.argv[1]).encode("the  quick caf\\u00e9 <|endoftext|>").tolist())
"""


def start(path: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_processes_that_start_at_once_compile_once_and_later_ones_not_at_all(small, tmp_path):
    small.save(tmp_path / "tokenizer.json")
    expected = f"{small.encode('the  quick café <|endoftext|>').tolist()}\n"
    messages = ""
    processes = [start(tmp_path / "tokenizer.json", NUMBA_CACHE_DIR=str(tmp_path / "compiled")) for _ in range(3)]
    for process in processes:
        out, errors = process.communicate()
        assert (process.returncode, out) == (0, expected), errors
        messages += errors
    assert messages.count("compiling the encoding kernels") == 1
    later = start(tmp_path / "tokenizer.json", NUMBA_CACHE_DIR=str(tmp_path / "compiled"))
    assert later.communicate() == (expected, "")


def test_where_nothing_can_be_written_the_kernels_are_compiled_for_the_process(small, tmp_path):
    small.save(tmp_path / "tokenizer.json")
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "folder")
    process = start(
        tmp_path / "tokenizer.json", NUMBA_CACHE_DIR=nowhere, XDG_CACHE_HOME=nowhere, HOME=nowhere, TMPDIR=str(tmp_path)
    )
    out, errors = process.communicate()
    assert out == f"{small.encode('the  quick café <|endoftext|>').tolist()}\n", errors
    assert not list(tmp_path.glob("pile-toolkit-*"))

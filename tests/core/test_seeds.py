"""A decision depends on the seed, its purpose and its subject, on nothing else, and is the same everywhere for ever."""

import struct
import unicodedata

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.seeds import KEY_RANGE, keyed, keyed_columns, normalized, text_hash
from tests.core.separation_twin import column_key

BINS = 64
# The 99.9 % point of chi-square with 63 degrees of freedom; the seed is fixed, so the outcome is too.
CHI_SQUARE_LIMIT = 103.4
U64 = st.integers(0, KEY_RANGE - 1)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((0, "split"), 7785501798188817037),
        ((1234, "split", b"abc"), 15016489408850004327),
        ((1234, "order", b"abc", 0), 1493487623518705130),
        ((1234, "copy", b"ab", b"c"), 12254292925614281219),
        ((1234, "copy", b"a", b"bc"), 13232760913527955952),
        ((-1, "x", KEY_RANGE - 1), 12037532118191976114),
    ],
)
def test_keys_are_the_pinned_ones(arguments, key):
    assert keyed(*arguments) == key


@given(seed=U64, purpose=st.text(max_size=8), parts=st.lists(st.binary(max_size=20) | U64, max_size=4))
def test_a_key_is_the_hash_of_its_parts_with_their_lengths(seed, purpose, parts):
    encoded = [purpose.encode(), *(part if isinstance(part, bytes) else struct.pack("<Q", part) for part in parts)]
    data = b"".join(struct.pack("<Q", len(part)) + part for part in encoded)
    assert keyed(seed, purpose, *parts) == xxhash.xxh3_64_intdigest(data, seed)


@given(parts=st.lists(st.binary(max_size=5), min_size=2, max_size=5), purpose=st.text(max_size=3))
def test_where_one_part_ends_and_the_next_begins_counts(parts, purpose):
    joined = [b"".join(parts[:2]), *parts[2:]]
    assert keyed(1, purpose, *parts) != keyed(1, purpose, *joined)


def test_each_of_seed_purpose_and_part_gives_other_keys():
    keys = {
        keyed(seed, purpose, text, copy)
        for seed in range(4)
        for purpose in ("split", "copy", "order")
        for text in (b"", b"a", b"b")
        for copy in range(4)
    }
    assert len(keys) == 4 * 3 * 3 * 4


def chi_square(keys):
    """Of both ends of the keys: bins by their highest and by their lowest bits."""
    return [
        float(((np.bincount(ends, minlength=BINS) - len(keys) / BINS) ** 2).sum() / (len(keys) / BINS))
        for ends in ((keys >> np.uint64(58)).astype(np.int64), (keys % np.uint64(BINS)).astype(np.int64))
    ]


def test_keys_are_uniform():
    keys = np.array([keyed(1234, "split", text_hash(f"document {n}")) for n in range(20_000)], dtype=np.uint64)
    assert max(chi_square(keys)) < CHI_SQUARE_LIMIT
    column = np.arange(20_000, dtype=np.uint64)
    assert max(chi_square(keyed_columns(1234, "order", column))) < CHI_SQUARE_LIMIT
    assert max(chi_square(keyed_columns(1234, "order", column, np.zeros_like(column)))) < CHI_SQUARE_LIMIT


def plain_columns(seed, purpose, *columns):
    """The same in whole numbers of Python."""
    return [column_key(seed, purpose, *values) for values in zip(*columns, strict=True)]


def test_splitmix64_gives_the_published_numbers():
    # The first outputs of the generator seeded with 1234567: its state grows by the constant, as one column per output.
    state, outputs = 1234567, []
    start = keyed(0, "order")
    for _ in range(3):
        outputs += plain_columns(0, "order", [(state - start) % KEY_RANGE])
        state += 0x9E3779B97F4A7C15
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(rows=st.lists(st.tuples(U64, U64, U64), max_size=20), seed=U64)
def test_keys_of_columns_are_those_of_plain_python(rows, seed):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    keys = keyed_columns(seed, "order", *(np.array(column, dtype=np.uint64) for column in columns))
    assert keys.dtype == np.uint64
    assert keys.tolist() == plain_columns(seed, "order", *columns)


def test_columns_may_be_of_any_width_and_are_left_as_they_were():
    wide = np.array([1, 2, 3], dtype=np.uint64)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int64):
        column = wide.astype(dtype)
        assert (keyed_columns(5, "x", column) == keyed_columns(5, "x", wide)).all()
        assert column.tolist() == [1, 2, 3]


@given(column=st.lists(U64, unique=True, max_size=50), rest=U64)
def test_rows_that_differ_in_one_column_never_collide(column, rest):
    varied, same = np.array(column, dtype=np.uint64), np.full(len(column), rest, dtype=np.uint64)
    for columns in ((varied, same), (same, varied), (same, varied, same)):
        assert len(set(keyed_columns(1, "order", *columns).tolist())) == len(column)


def test_a_text_hash_is_the_big_endian_xxh3_of_its_utf8():
    assert text_hash("").hex() == "99aa06d3014798d86001c324468d497f"
    assert text_hash("abc é").hex() == xxhash.xxh3_128_hexdigest("abc é".encode()) == "329c0811158ba248e6134b7d393dbabb"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        (" \t\r\n", ""),
        ("  One\n\n two\u00a0three\u2028four ", "one two three four"),
        ("Straße", "strasse"),
        ("e\u0301", "\u00e9"),
        ("\u212b", "\u00e5"),
        ("ΣΑΣ", "σασ"),
        ("\ufb01n", "fin"),
        ("x\u00b2", "x\u00b2"),
        ("a\u200bb", "a\u200bb"),
        ("don't!", "don't!"),
    ],
)
def test_splits_see_past_case_white_space_and_composition_only(text, seen):
    assert normalized(text) == seen


@given(st.text(max_size=50), st.sampled_from(["NFC", "NFD"]))
def test_canonically_equal_texts_are_one_text(text, form):
    assert normalized(unicodedata.normalize(form, text)) == normalized(text)


@given(st.text(max_size=50))
def test_normalizing_twice_changes_nothing(text):
    assert normalized(normalized(text)) == normalized(text)

"""XXH3-128 of the kernels is the library's, for every way it takes by length, wherever the bytes lie."""

from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.hashing.kernels import LANES, xxh3_128

DATA = np.random.default_rng(5).integers(0, 256, 20_000, dtype=np.uint8)


def hash_of(data: np.ndarray, start: int, length: int) -> int:
    state = np.full(LANES + 6, 7, np.int64)
    high, low = xxh3_128(data, start, length, state, 3)
    assert (state[:3] == 7).all()
    assert (state[3 + LANES :] == 7).all()
    return int(high) << 64 | int(low)


def test_xxh3_is_the_librarys_for_every_length():
    # Past the second block of 1,024 bytes every length, then around the ends of blocks and stripes.
    long = [1024 * blocks + more for blocks in (3, 4, 17) for more in (-65, -64, -63, -1, 0, 1, 63, 64, 65)]
    for length in [*range(2200), *long]:
        start = length * 7 % 97
        assert hash_of(DATA, start, length) == xxhash.xxh3_128_intdigest(DATA[start : start + length].tobytes())


@given(st.binary(max_size=1200), st.binary(min_size=8, max_size=8))
def test_what_lies_behind_the_bytes_does_not_matter(text, behind):
    data = np.frombuffer(text + behind, np.uint8)
    assert hash_of(data, 0, len(text)) == xxhash.xxh3_128_intdigest(text)

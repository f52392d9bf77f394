"""Real documents, the published tokenizers beside the library's reading of them, and one tokenizer trained here."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
import zstandard
from tokenizers import Tokenizer

from tokenizer.encoder import Encoder
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

# One in sixteen documents of every component: 5 MB, which the library encodes in 3 seconds.
EVERY = 16


class Pair(NamedTuple):
    """One tokenizer.json read by us and by the `tokenizers` library, which is the oracle."""

    ours: Encoder
    library: Tokenizer

    def expected(self, text: str, *, allow_special: bool = False) -> list[int]:
        self.library.encode_special_tokens = not allow_special
        return self.library.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="session")
def documents(minipile: Path) -> list[tuple[str, str]]:
    """(component, text) for one in sixteen documents of the real data, all 22 components among them."""
    found = []
    for path in sorted(minipile.glob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        lines = [line for line in io.BytesIO(data) if line.strip()]
        found += [(path.name.removesuffix(".jsonl.zst"), json.loads(line)["text"]) for line in lines[::EVERY]]
    assert len({component for component, _ in found}) == 22
    return found


@pytest.fixture(scope="session")
def texts(documents: list[tuple[str, str]]) -> list[str]:
    return [text for _, text in documents]


@pytest.fixture(scope="session")
def small() -> Encoder:
    """A tokenizer in the default layout that needs no data from outside: some 350 ids."""
    words = "the quick brown fox jumps over the lazy dog, and then the other things follow: naïve café 12 123 don't "
    return train_tokenizer([words * 3, "def f(x):\n    return x\n" * 4], vocab_size=400, allow_smaller=True)


@pytest.fixture(scope="session")
def trained(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """3,000 ids in the default layout, trained on a quarter of the sample."""
    path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    train_tokenizer(texts[::4], vocab_size=3000).save(path)
    return _pair(path)


@pytest.fixture(scope="session")
def neox(reference: Path) -> Pair:
    return _pair(reference / "20B_tokenizer.json")


@pytest.fixture(scope="session")
def gpt2(reference: Path) -> Pair:
    return _pair(reference / "gpt2_tokenizer.json")


@pytest.fixture(params=["neox", "gpt2", "trained"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each of the three in turn."""
    return request.getfixturevalue(request.param)


def _pair(path: Path) -> Pair:
    return Pair(Encoder.load(path), Tokenizer.from_file(str(path)))

"""What defines a signature: two texts compare only where all of this is the same."""

from __future__ import annotations

import unicodedata
from typing import Any, Literal, get_args

import msgspec
import xxhash

from pile_toolkit.core.errors import UsageError

NUM_PERM = 128
SHINGLE_WORDS = 5
SIGNATURE_SEED = 1
# datasketch's default since its version 2.0.
SCHEME = "affine32"
Scheme = Literal["affine32", "legacy"]
Unit = Literal["words", "characters"]
Hash = Literal["xxh64", "sha1"]
# Arrays of a kernel are as long as a shingle.
LONGEST_SHINGLE = 1 << 16
MOST_PERMUTATIONS = 1 << 16
# Raised when the same settings come to mean other signatures.
_FORMAT = 1


class Folding(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to a text before it is cut into shingles, in this order.

    NFC; full case folding; each punctuation or symbol (Unicode categories P and S) becomes a space; each decimal digit
    (Nd) becomes 0; each run of white space becomes one space, and none is left at the ends.
    """

    nfc: bool = True
    fold_case: bool = True
    remove_punctuation: bool = False
    zero_digits: bool = False
    fold_spaces: bool = True


# That of `pile_toolkit.core.seeds.normalized`.
NORMALIZED = Folding()


class SignatureSettings(Folding, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shingle is `size` consecutive units of the folded text: words, which white space separates, or code points.

    `scheme`, `num_perm` and `seed` are datasketch's. `hash`: `xxh64` combines the XXH64 of the units, as
    `docs/formats.md` says; `sha1` is datasketch's own over the UTF-8 of the shingle. Raises UsageError for what cannot
    be.
    """

    num_perm: int = NUM_PERM
    seed: int = SIGNATURE_SEED
    scheme: Scheme = "affine32"
    unit: Unit = "words"
    size: int = SHINGLE_WORDS
    hash: Hash = "xxh64"

    def __post_init__(self) -> None:
        _check_range("num_perm", self.num_perm, 2, MOST_PERMUTATIONS, hint=f"--num-perm {NUM_PERM}")
        _check_range("the signature seed", self.seed, 0, (1 << 32) - 1, hint=f"seed={SIGNATURE_SEED}")
        if type(self.size) is not int or not 1 <= self.size <= LONGEST_SHINGLE:
            raise UsageError(
                f"a shingle of {self.size!r} {self.unit} is none, it needs at least 1 and at most {LONGEST_SHINGLE:,}",
                hint=f"size={SHINGLE_WORDS}",
            )
        for name, kind in (("scheme", Scheme), ("unit", Unit), ("hash", Hash)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}, it is one of {', '.join(get_args(kind))}",
                    hint=f"{name}={get_args(kind)[0]!r}",
                )
        for name in Folding.__struct_fields__:
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}, it is True or False", hint=f"{name}=True")
        if self.unit == "words" and not self.fold_spaces:
            raise UsageError("white space separates words and is no part of them", hint="unit='characters'")

    @property
    def folding(self) -> Folding:
        """The part of it that concerns texts."""
        return Folding(**{name: getattr(self, name) for name in Folding.__struct_fields__})

    @property
    def digest(self) -> str:
        """32 hexadecimal digits; other settings and other versions of Unicode have others."""
        described = {**msgspec.structs.asdict(self), "unicode": unicode_version(), "format": _FORMAT}
        return xxhash.xxh3_128_hexdigest(msgspec.json.encode(described, order="sorted"))


def signature_settings(**fields: Any) -> SignatureSettings:
    """The settings with these fields, and the defaults for the rest. Raises UsageError for a name that is none."""
    for name in fields:
        if name not in SignatureSettings.__struct_fields__:
            known = ", ".join(SignatureSettings.__struct_fields__)
            raise UsageError(f"signatures have no setting {name!r}", hint=f"one of {known}")
    return SignatureSettings(**fields)


def unicode_version() -> str:
    """That of the interpreter, by which texts are folded."""
    return unicodedata.unidata_version


def _check_range(name: str, value: object, least: int, most: int, *, hint: str) -> None:
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}, it lies between {least} and {most:,}", hint=hint)

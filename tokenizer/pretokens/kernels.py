"""UTF-8 bytes in, the ends of pre-tokens out: GPT-2's regular expression and runs of spaces, 64 bytes at a time.

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

What a caller does, from any kernel and any number of threads (nothing here takes Python's lock, allocates or keeps
anything; `tables = unicode_tables()` are two read-only arrays):

    position = start
    while position < stop:
        first = position
        count, position = find_pretokens(text, position, stop, longest_run, *tables, ends)
        # the pre-tokens are text[first:ends[0]], text[ends[0]:ends[1]], ..., and `position` is ends[count - 1]

- `text`: uint8, valid UTF-8 (what `str.encode()` gives), with at least PADDING further bytes of any value after `stop`.
- `start`, `stop`: one text or a piece of one; nothing outside of it matters. `position` is always where a pre-token
  starts, so that any call may go on where another stopped.
- `longest_run`: runs of 2 up to so many spaces are cut out first, longest first from the left, as added tokens are;
  then the rest is matched as texts of their own. 1 cuts out nothing (plain GPT-2).
- `ends`: int64 results, at least SMALLEST_ENDS entries; a call stops when they are nearly full; 2,048 are fast.
- An entry is the offset in `text` after a pre-token; NEGATIVE (-offset) after a run of spaces that was cut out, whose
  length is the distance from the entry before. At least one pre-token is found per call, however long it is.

Each class of bytes is a number of 64 bits, one for each byte of a block; whether a pre-token starts at a byte follows
from its class and those of its two neighbours, for 64 bytes in some twenty instructions. Only apostrophes, runs of
spaces and characters outside of ASCII need a look of their own.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from pile_toolkit.core.bits.kernels import address_of, intrinsic, ones, trailing_zeros
from pile_toolkit.core.characters.kernels import property_at
from pile_toolkit.core.characters.tables import CHANGED_BY_NFC
from pile_toolkit.core.kernels import kernel
from tokenizer.pretokens.tables import LETTER, NUMBER, WHITE

# Bytes after the end of a text that may be read (and do not matter): a block that begins before it, and the next one.
PADDING = 128
BLOCK = 64
SMALLEST_ENDS = 8 * BLOCK

_APOSTROPHE = 39
_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_TOP = np.uint64(63)


@intrinsic
def _ascii_masks(_context, array, offset):
    """Of 64 bytes from `offset` on: which are letters, digits, spaces, other blanks, apostrophes, not ASCII."""
    vector = ir.VectorType(ir.IntType(8), BLOCK)

    def codegen(context, builder, signature, arguments):
        block = builder.load(address_of(context, builder, signature.args[0], arguments, vector))
        block.align = 1

        def all_of(value):
            return ir.Constant(vector, [value] * BLOCK)

        def between(values, first, count):
            return builder.icmp_unsigned("<", builder.sub(values, all_of(first)), all_of(count))

        found = [
            between(builder.or_(block, all_of(0x20)), ord("a"), 26),
            between(block, ord("0"), 10),
            builder.icmp_unsigned("==", block, all_of(0x20)),
            between(block, 9, 5),
            builder.icmp_unsigned("==", block, all_of(_APOSTROPHE)),
            builder.icmp_signed("<", block, all_of(0)),
        ]
        masks = [builder.bitcast(mask, ir.IntType(64)) for mask in found]
        return context.make_tuple(builder, signature.return_type, masks)

    return types.UniTuple(types.uint64, 6)(array, types.int64), codegen


@kernel
def _classify(text, base, stop, high, page_of, properties, spill):
    """What the characters of a block that are not ASCII are, and what reaches into the next block.

    Returns letters, numbers, white space (first bytes), its further bytes, white space that ends a run before a word,
    and the spill: bits of the first three (letters, numbers, further bytes) for up to three bytes of the next block.
    """
    letters, numbers, inside = spill[0], spill[1], spill[2]
    white, last_white = _NONE, _NONE
    over_letters, over_numbers, over_inside = _NONE, _NONE, _NONE
    # Further bytes of a character that started before this block.
    high &= ~(spill[0] | spill[1] | spill[2] | spill[3])
    over_other = _NONE
    while high != 0:
        shift = trailing_zeros(high)
        at = base + np.int64(shift)
        kind, length = property_at(text, at, page_of, properties)
        kind &= ~np.uint8(CHANGED_BY_NFC)
        bits = (_ONE << np.uint64(length)) - _ONE
        over = _NONE if shift <= np.uint64(60) else bits >> (np.uint64(64) - shift)
        bits <<= shift
        high &= ~bits
        if kind == LETTER:
            letters |= bits
            over_letters |= over
        elif kind == NUMBER:
            numbers |= bits
            over_numbers |= over
        elif kind == WHITE:
            front = _ONE << shift
            inside |= bits & ~front
            over_inside |= over
            # Its own last byte stands between it and what follows, so what follows is looked at here.
            if at + length < stop and not _is_white(text, at + length, page_of, properties):
                last_white |= front
            else:
                white |= front
        else:
            over_other |= over
    return letters, numbers, white, inside, last_white, (over_letters, over_numbers, over_inside, over_other)


@kernel
def _is_white(text, at, page_of, properties):
    byte = text[at]
    if byte < 128:
        return byte == 32 or 9 <= byte <= 13
    return property_at(text, at, page_of, properties)[0] & ~np.uint8(CHANGED_BY_NFC) == WHITE


@kernel
def _block(text, base, stop, page_of, properties, spill):
    """The classes of text[base:base + 64], one bit a byte, nothing from `stop` on, and the spill for the next block.

    Classes: letters, numbers, other, space, white (first bytes of other white space), last white, apostrophes.
    """
    letters, numbers, spaces, white, apostrophes, high = _ascii_masks(text, base)
    inside, last_white, next_spill = _NONE, _NONE, (_NONE, _NONE, _NONE, _NONE)
    valid = _ALL
    if stop - base < BLOCK:
        valid = _NONE if stop <= base else (_ONE << np.uint64(stop - base)) - _ONE
        high &= valid
    if high != 0:
        more, digits, blanks, inside, last_white, next_spill = _classify(
            text, base, stop, high, page_of, properties, spill
        )
        letters |= more
        numbers |= digits
        white |= blanks
    other = ~(letters | numbers | spaces | white | inside | last_white) & valid
    return (letters & valid, numbers & valid, other, spaces & valid, white & valid, last_white, apostrophes), next_spill


@kernel
def _contraction_end(text, at, stop):
    """The offset after 's, 't, 're, 've, 'm, 'll or 'd at `at`, else `at`."""
    if text[at] != _APOSTROPHE or at + 1 >= stop:
        return at
    first = text[at + 1]
    if first == 115 or first == 116 or first == 109 or first == 100:
        return at + 2
    if at + 2 < stop:
        second = text[at + 2]
        if (first == 114 and second == 101) or (first == 118 and second == 101) or (first == 108 and second == 108):
            return at + 3
    return at


@kernel
def _settle(text, at, stop, longest_run, ends, count):
    """Cuts out runs of spaces and contractions that start at `at`, one after the other; new count and offset."""
    while at < stop:
        if longest_run > 1 and text[at] == 32 and at + 1 < stop and text[at + 1] == 32:
            # At most what there is room for: the rest is a run again for the next call.
            farthest = min(stop, at + longest_run * max(1, ends.size - 2 * BLOCK - count))
            end = at
            while end < farthest and text[end] == 32:
                end += 1
            while end - at > 1:
                at += min(longest_run, end - at)
                ends[count] = -at
                count += 1
            if end == farthest:
                return count, at
        else:
            end = _contraction_end(text, at, stop)
            if end == at:
                return count, at
            at = end
            ends[count] = at
            count += 1
    return count, at


@kernel
def _after(bits, at, base):
    """`bits` of a block without those at or before the offset `at`."""
    if at < base:
        return bits
    if at - base >= BLOCK - 1:
        return _NONE
    return bits & ~((np.uint64(2) << np.uint64(at - base)) - _ONE)


@kernel
def _starts(block, following, before, cut):
    """Where pre-tokens start in a block, and at which of them a contraction or a run of spaces may start.

    `following` are the classes of the next block, `before` the highest bits of the last one.
    """
    letters, numbers, other, spaces, white, last_white, apostrophes = block
    letter, number, others, space, word = before
    words, next_words = letters | numbers | other, following[0] | following[1] | following[2]
    behind_space = spaces << _ONE | space
    starts = letters & ~(letters << _ONE | letter)
    starts |= numbers & ~(numbers << _ONE | number)
    starts |= other & ~(other << _ONE | others)
    starts &= ~behind_space
    starts |= (spaces | white) & ((words << _ONE | word) | (words >> _ONE | next_words << _TOP)) | last_white
    runs = spaces & (spaces >> _ONE | following[3] << _TOP) & ~behind_space & cut
    return starts | runs, runs | apostrophes & (letters >> _ONE | following[0] << _TOP)


@kernel
def _write_starts(starts, base, ends, count):
    """Each of the starts is the end of the pre-token before; returns the new count."""
    stop = count + np.int64(ones(starts))
    while count < stop:
        # Further ones, of no meaning, are written over: a loop that ends after any number is not foreseen so well.
        for _ in range(4):
            ends[count] = base + np.int64(trailing_zeros(starts))
            starts &= starts - _ONE
            count += 1
    return stop


@kernel
def _settle_starts(text, starts, looks, base, stop, longest_run, ends, count):
    """As `_write_starts`, one by one, with what starts there cut out; new count and offset."""
    at = base
    room = ends.size - 2 * BLOCK
    while starts != 0 and count < room:
        lowest = starts & (_NONE - starts)
        at = base + np.int64(trailing_zeros(starts))
        starts ^= lowest
        ends[count] = at
        count += 1
        if looks & lowest:
            count, at = _settle(text, at, stop, longest_run, ends, count)
            starts = _after(starts, at, base)
    return count, at


@kernel
def find_pretokens(text, start, stop, longest_run, page_of, properties, ends):
    """Fills `ends` (see the module); returns how many entries, and the offset where the next pre-token starts."""
    room = ends.size - 2 * BLOCK
    cut = _ALL if longest_run > 1 else _NONE
    count, at = _settle(text, start, stop, longest_run, ends, 0)
    base = at
    block, spill = _block(text, base, stop, page_of, properties, (_NONE, _NONE, _NONE, _NONE))
    before = (_NONE, _NONE, _NONE, _NONE, _NONE)
    while base < stop and count < room:
        following, spill = _block(text, base + BLOCK, stop, page_of, properties, spill)
        starts, looks = _starts(block, following, before, cut)
        starts = _after(starts, at, base)
        if starts & looks:
            count, at = _settle_starts(text, starts, looks, base, stop, longest_run, ends, count)
        elif starts:
            count = _write_starts(starts, base, ends, count)
            at = ends[count - 1]
        if count >= room:
            return count, at
        letters, numbers, other, spaces = block[0], block[1], block[2], block[3]
        before = letters >> _TOP, numbers >> _TOP, other >> _TOP, spaces >> _TOP, (letters | numbers | other) >> _TOP
        block = following
        base += BLOCK
    if at < stop and count < room:
        ends[count] = stop
        return count + 1, stop
    return count, at

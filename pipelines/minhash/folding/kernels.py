"""UTF-8 in NFC in, the same with case, white space and other characters folded out, one text after the other.

What a character becomes stands in a table (`pipelines/minhash/folding/tables.py`), so that this is exactly what Python
does with it. Where white space is folded, ASCII takes no table: 64 bytes at a time are compared and stored, and only a
second white space in a row, or a character outside of ASCII that changes, ends a block.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from pile_toolkit.core.bits.kernels import address_of, intrinsic, load64, trailing_zeros
from pile_toolkit.core.characters.kernels import property_at
from pile_toolkit.core.kernels import kernel
from pipelines.minhash.folding.tables import LENGTH_MASK, SPACE

BLOCK = 64
# Bytes behind a source that may be read, and behind a target that may be written: what they are does not matter.
PADDING = 2 * BLOCK

_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_SPACE, _LENGTH_MASK = np.uint64(SPACE), np.uint64(LENGTH_MASK)
_EIGHT = np.uint64(8)


@intrinsic
def _fold_block(_context, target, offset, source, place, case, marks, digits):
    """64 bytes from `source` to `target`, ASCII folded as the last three say: uint8, 1 or 0, and white space as spaces.

    Two masks: which bytes became spaces, and which begin characters outside of ASCII.
    """
    vector = ir.VectorType(ir.IntType(8), BLOCK)

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        block = builder.load(address_of(context, builder, kinds[2], arguments[2:4], vector))
        block.align = 1

        def all_of(value):
            return ir.Constant(vector, [value] * BLOCK)

        def between(first, end, asked):
            # None where it is not asked for.
            count = builder.mul(asked, ir.Constant(asked.type, ord(end) - ord(first) + 1))
            count = builder.insert_element(ir.Constant(vector, ir.Undefined), count, ir.IntType(32)(0))
            count = builder.shuffle_vector(count, count, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))
            return builder.icmp_unsigned("<", builder.sub(block, all_of(ord(first))), count)

        case, marks, digits = arguments[4:]
        always = ir.Constant(ir.IntType(8), 1)
        white = builder.or_(between("\t", "\r", always), between("\x1c", " ", always))
        for first, end in ("!/", ":@", "[`", "{~"):
            white = builder.or_(white, between(first, end, marks))
        leads = builder.icmp_unsigned(">=", block, all_of(0xC0))
        folded = builder.select(between("A", "Z", case), builder.or_(block, all_of(0x20)), block)
        folded = builder.select(between("0", "9", digits), all_of(ord("0")), folded)
        folded = builder.select(white, all_of(0x20), folded)
        builder.store(folded, address_of(context, builder, kinds[0], arguments[:2], vector)).align = 1
        masks = [builder.bitcast(mask, ir.IntType(64)) for mask in (white, leads)]
        return context.make_tuple(builder, signature.return_type, masks)

    asked = [types.uint8] * 3
    return types.UniTuple(types.uint64, 2)(target, types.int64, source, types.int64, *asked), codegen


@intrinsic
def _store64(_context, array, offset, value):
    """Eight bytes of a little-endian uint64 to item `offset` on."""

    def codegen(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], arguments[:2], ir.IntType(64))
        builder.store(arguments[2], address).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@kernel
def _first_change(source, at, leads, page_of, changes):
    """Offset from `at` of the first of the marked characters that changes; -1 where none does."""
    while leads != _NONE:
        offset = np.int64(trailing_zeros(leads))
        if property_at(source, at + offset, page_of, changes)[0] != _NONE:
            return offset
        leads &= leads - _ONE
    return -1


@kernel
def _fold_blocks(source, at, stop, target, to, blank, asked, page_of, changes):
    """Folds ASCII and what does not change, up to a character that does; where that is, and the end in `target`.

    `blank`: whether another white space would be one too many. Stops where `target` may be full.
    """
    found = False
    case, marks, digits = asked
    while at < stop and not found and to + PADDING <= target.size:
        white, leads = _fold_block(target, to, source, at, case, marks, digits)
        size = min(BLOCK, stop - at)
        valid = _ALL >> np.uint64(BLOCK - size)
        if leads & valid != _NONE:
            change = _first_change(source, at, leads & valid, page_of, changes)
            if change >= 0:
                found = True
                size = change
                valid = (_ONE << np.uint64(size)) - _ONE
        one_too_many = white & (white << _ONE | np.uint64(blank)) & valid
        if one_too_many == _NONE:
            to += size
        else:
            kept = valid & ~one_too_many
            while kept != _NONE:
                first = np.int64(trailing_zeros(kept))
                length = np.int64(trailing_zeros(~(kept >> np.uint64(first))))
                _fold_block(target, to, source, at + first, case, marks, digits)
                to += length
                # Twice, because a shift by 64 is none.
                kept &= (_ALL << np.uint64(first + length - 1)) << _ONE
        if size > 0:
            blank = white >> np.uint64(size - 1) & _ONE != _NONE
        at += size
    return at, to, blank


@kernel
def _fold_text(source, at, stop, target, start, collapse, asked, page_of, changes):
    """The end of the folded text in `target`, -1 where that is too small."""
    to, blank = start, collapse
    while at < stop:
        if collapse:
            at, to, blank = _fold_blocks(source, at, stop, target, to, blank, asked, page_of, changes)
        if to + PADDING > target.size:
            return np.int64(-1)
        if at == stop:
            break
        change, length = property_at(source, at, page_of, changes)
        if change == _NONE:
            _store64(target, to, load64(source, at))
            to += length
            blank = False
        elif change != _SPACE or not collapse:
            _store64(target, to, change >> _EIGHT)
            to += np.int64(change & _LENGTH_MASK)
            blank = False
        elif not blank:
            target[to] = 0x20
            to += 1
            blank = True
        at += length
    # White space at the end is none.
    return to - 1 if collapse and blank and to > start else to


@kernel
def fold_texts(source, stops, number, target, ends, collapse, asked, page_of, changes):
    """Folds texts from `number` on that lie in `source` up to their `stops`; sets their `ends` in `target`.

    The number of the first text that did not fit, and is to be folded into a larger target, or of texts. `collapse`:
    each run of white space is one space. `asked`: whether the table changes ASCII letters, punctuation and digits.
    """
    at = stops[number - 1] if number else np.int64(0)
    to = ends[number - 1] if number else np.int64(0)
    while number < stops.size:
        to = _fold_text(source, at, stops[number], target, to, collapse, asked, page_of, changes)
        if to < 0:
            break
        at, ends[number] = stops[number], to
        number += 1
    return number

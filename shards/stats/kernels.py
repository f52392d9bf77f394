"""The loop over every stored id, compiled: arrays and scalars in, two given arrays filled, nothing allocated."""

from __future__ import annotations

from pile_toolkit.core.kernels import kernel


@kernel
def count_ids(ids, first, starts, ends, opened, closed, stored, read):
    """Adds each id once to `stored`, and to `read` once per sequence that holds it; returns how many were counted.

    `ids` begin at item `first` of the file; `starts` and `ends` are the items where sequences start and end, each
    sorted by itself, of which `opened` and `closed` lie at `first` or before. Stops at an id that has no counter.
    """
    at = 0
    while at < ids.size:
        while opened < starts.size and starts[opened] <= first + at:
            opened += 1
        while closed < ends.size and ends[closed] <= first + at:
            closed += 1
        # Up to the next start or end the same sequences hold every id, however they overlap.
        stop = ids.size
        if opened < starts.size:
            stop = min(stop, starts[opened] - first)
        if closed < ends.size:
            stop = min(stop, ends[closed] - first)
        readers = opened - closed
        for place in range(at, stop):
            value = ids[place]
            if value < 0 or value >= stored.size:
                return place
            stored[value] += 1
            read[value] += readers
        at = stop
    return at

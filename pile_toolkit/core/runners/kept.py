"""A block in, workers that outlast one call in it out: they wait for the stage's next call and end with the block."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT: ContextVar[tuple[contextlib.ExitStack, dict[str, Any]] | None] = ContextVar("workers kept", default=None)


@contextlib.contextmanager
def keeping_workers() -> Iterator[None]:
    """Workers for which a queue was waited for serve every call of this block; inside another such block, of that."""
    if _KEPT.get() is not None:
        yield
        return
    with contextlib.ExitStack() as stack:
        reset = _KEPT.set((stack, {}))
        stack.callback(_KEPT.reset, reset)
        yield


@contextlib.contextmanager
def kept(name: str, start: Callable[[], Any]) -> Iterator[Any]:
    """What `start` returns, closed by its `close()` when the block of `keeping_workers` ends, or this one outside."""
    block = _KEPT.get()
    if block is None:
        with contextlib.closing(start()) as made:
            yield made
        return
    stack, by_name = block
    if name not in by_name:
        by_name[name] = stack.enter_context(contextlib.closing(start()))
    yield by_name[name]

"""Kernels that are loaded when they are first needed, once a process, whichever of its threads asks first."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Loader(Generic[T]):
    """What `use` returns, which is called once, under `load_once`, however many threads ask."""

    def __init__(self, part: str, use: Callable[[], T], *, seconds: int) -> None:
        functools.update_wrapper(self, use)
        self._part, self._use, self._seconds = part, use, seconds
        self._lock = threading.Lock()
        self._loaded: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._loaded:
                # numba takes 0.6 s to import, which only those who compute should pay.
                from pile_toolkit.core.kernels import load_once

                self._loaded.append(load_once(self._part, self._use, seconds=self._seconds))
        return self._loaded[0]

    def is_loaded(self) -> bool:
        """Whether it is there already, and costs nothing."""
        return bool(self._loaded)


def loads_once(part: str, *, seconds: int) -> Callable[[Callable[[], T]], Loader[T]]:
    """Decorates a function that calls the kernels of a `part` in all the types they are used with.

    `seconds`: what compiling them takes, which is said.
    """
    return lambda use: Loader(part, use, seconds=seconds)

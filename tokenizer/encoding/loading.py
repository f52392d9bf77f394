"""The first encoder of a process loads the kernels; the first on a machine compiles them, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizer.encoding.pieces import Cutter

if TYPE_CHECKING:
    import numpy as np

    from tokenizer.definition import Definition
    from tokenizer.encoding.engine import Engine


def load_engine(definition: Definition, *, owner: str, dtype: np.dtype) -> Engine:
    """The engine, its kernels loaded or compiled."""
    from pile_toolkit.core.kernels import load_once
    from tokenizer.encoding.engine import Engine

    def use() -> Engine:
        engine = Engine(definition, owner=owner, dtype=dtype)
        engine.encode([["a\u00e9"]], Cutter(definition, allow_special=False))
        return engine

    return load_once("encoding", use, seconds=10)

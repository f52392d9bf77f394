"""A step whose loss or gradients are no numbers in, a file that says what it read out, and an error that names it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch.distributed.tensor import DTensor

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from shards.phased import PhasedSamples
    from trainer.distributed import World


def stop_on_nonfinite(
    run: Path,
    *,
    step: int,
    loss: float,
    norm: float,
    model: nn.Module,
    samples: PhasedSamples,
    numbers: range,
    world: World,
    hint: str,
) -> None:
    """Raises UsageError on all ranks where `loss` or `norm` is no number, after writing `nonfinite-<step>.json`.

    The file lists the samples of the step with their documents, and the parameters whose gradients are no numbers.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    parameters = sorted({name for names in world.gather(_nonfinite_gradients(model)) for name in names})
    path = run / f"nonfinite-{step:08d}.json"
    if world.is_first:
        report = {
            "step": step,
            "loss": repr(loss),
            "grad_norm": repr(norm),
            "parameters": parameters,
            "samples": [{"sample": number, "documents": _documents(samples, number)} for number in numbers],
        }
        write_bytes(path, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    world.barrier()
    raise UsageError(
        f"step {step}: the loss is {loss}, the gradient norm {norm}, on samples {numbers[0]} to {numbers[-1]}; "
        f"{path} names their documents; the last checkpoint of {run} is from before that step",
        hint=hint,
    )


def _nonfinite_gradients(model: nn.Module) -> list[str]:
    found = []
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        if local is not None and not bool(torch.isfinite(local).all()):
            found.append(name)
    return found


def _documents(samples: PhasedSamples, number: int) -> list[dict[str, Any]]:
    """What a sample is made of: documents where the shards name them, else sequences by number."""
    index, inside = samples.find(number)
    if index.dataset.has_provenance:
        return [
            {"component": origin.component, "document": origin.document, "tokens": list(origin.tokens)}
            for origin in index.provenance(inside)
        ]
    return [{"sequence": piece.sequence, "tokens": [piece.start, piece.stop]} for piece in index.pieces(inside)]

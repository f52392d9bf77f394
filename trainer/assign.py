"""Named tensors in, a model that has them out; where they are not its own, a sentence on the first that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from trainer.model import GPTNeoX


def misfit(model: GPTNeoX, state: Mapping[str, Tensor]) -> str | None:
    """What keeps `state` from being all parameters of the model, None where nothing does."""
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name in sorted(shapes.keys() | state.keys()):
        if name not in state:
            return f"{name} is missing"
        if name not in shapes:
            return f"the model has no {name}"
        if tuple(state[name].shape) != shapes[name]:
            return f"{name} has the shape {list(state[name].shape)}, the model {list(shapes[name])}"
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in state.values()}
    if len(types) > 1 or not next(iter(state.values())).is_floating_point():
        return f"they are of {' and '.join(sorted(types))}, a model is of one floating type"
    return None


def assigned(model: GPTNeoX, state: Mapping[str, Tensor]) -> GPTNeoX:
    """The model, built without memory, with tensors that `misfit` has found nothing in: no copies."""
    model.load_state_dict(dict(state), assign=True)
    return model.eval()

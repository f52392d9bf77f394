"""Sharded model and optimizer in, `step-00000050/` out and back again, on any number of ranks.

torch.distributed.checkpoint writes one safetensors file a rank, so nothing is ever unpickled. The folder is written
under another name and gets its own only when every byte and the manifest are on the disk: a name is a whole checkpoint.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import fsync_folder, hash_file, naming_full_disks, remove
from pile_toolkit.core.manifest import OutputFile, StageKey, describe, publish, read_manifest, withdraw

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from trainer.distributed import World

CHECKPOINTS = "checkpoints"
FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")
_NAME = re.compile(r"step-(\d{8,})")

# The writer says at every save that it leaves the ranks' files apart, which is meant; the other logs every call.
for _name in ("torch.distributed.checkpoint.hf_storage", "c10d-NullHandler-dcp_logger"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One whole checkpoint: after `step` updates, the next sample being number `sample` of the index."""

    path: Path
    step: int
    sample: int
    training: dict[str, Any]
    files: tuple[OutputFile, ...]


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints of `folder`, oldest first; what was cut off while it was written is none."""
    found = [read_checkpoint(path) for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted((one for one in found if one is not None), key=lambda one: one.step)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`, None where its manifest or one of its files is missing or has another size."""
    manifest = read_manifest(path)
    if manifest is None or manifest.key.stage != "checkpoint":
        return None
    for file in manifest.outputs:
        one = path / file.path
        if not one.is_file() or one.stat().st_size != file.bytes:
            return None
    return Checkpoint(
        path=path,
        step=manifest.counts["step"],
        sample=manifest.counts["sample"],
        training=manifest.key.parameters,
        files=tuple(manifest.outputs),
    )


def prepare_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, *, updates: int) -> None:
    """Gives every parameter its AdamW state, zero as the optimizer would itself: there to be saved or loaded into."""
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        state["step"] = torch.tensor(float(updates), device=parameter.device)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(parameter.detach())


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Parameters as `model.<name>`, moments as `optimizer.<moment>.<name>`: the very tensors, not copies."""
    state = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            state |= {f"optimizer.{moment}.{name}": optimizer.state[parameter][moment] for moment in MOMENTS}
    return state


def save_checkpoint(
    folder: Path, *, step: int, sample: int, training: dict[str, Any], state: dict[str, Tensor], world: World
) -> Path:
    """Writes `folder/step-<step>` on all ranks together and returns it; one of that step is replaced."""
    started_at = time.time()
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if world.is_first:
        remove(temporary)
        temporary.mkdir(parents=True)
    world.barrier()
    with naming_full_disks(final):
        dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    # Each rank hashes what it has written; rank 0 collects.
    mine = [describe(temporary, path) for path in sorted(temporary.glob(f"shard-{world.rank + 1:05d}-*.safetensors"))]
    gathered: list[Any] | None = [None] * world.size if world.is_first else None
    dist.gather_object(mine, gathered)
    if gathered is not None:
        key = StageKey(stage="checkpoint", format=FORMAT, parameters=training)
        files = [file for files in gathered for file in files]
        counts = {"step": step, "sample": sample, "training": key.digest()}
        publish(temporary, key, outputs=files, counts=counts, started_at=started_at)
        _delete(final)
        temporary.replace(final)
        fsync_folder(folder)
    world.barrier()
    return final


def load_checkpoint(checkpoint: Checkpoint, state: dict[str, Tensor], *, world: World | None = None) -> None:
    """Fills the tensors of `state`, each rank its part of them. Raises CorruptData where a byte has changed.

    Without a world this process loads alone, which needs no process group.
    """
    rank, ranks = (world.rank, world.size) if world else (0, 1)
    for file in checkpoint.files[rank::ranks]:
        if hash_file(checkpoint.path / file.path) != file.hash:
            raise CorruptData(
                f"{checkpoint.path / file.path} is not as it was written (its hash is not {file.hash})",
                hint=f"rm -r {checkpoint.path}, then run again: the checkpoint before it is taken",
            )
    with warnings.catch_warnings():
        # A single process without a group is what is meant, not an oversight.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        reader = dcp.HuggingFaceStorageReader(str(checkpoint.path))
        try:
            dcp.load(state, storage_reader=reader, no_dist=world is None)
        except (dcp.CheckpointException, RuntimeError, ValueError) as error:
            raise CorruptData(f"{checkpoint.path} does not hold the tensors of its model: {error}") from error


def keep_last(folder: Path, count: int | None) -> None:
    """Removes all whole checkpoints but the newest `count`, and what cut-off ones have left."""
    for leftover in folder.glob(".step-*.tmp"):
        remove(leftover)
    if count is not None:
        for checkpoint in find_checkpoints(folder)[:-count]:
            _delete(checkpoint.path)


def _delete(path: Path) -> None:
    if path.exists():
        withdraw(path)  # Half a folder must not look like a checkpoint.
        remove(path)

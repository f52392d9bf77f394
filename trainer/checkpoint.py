"""Sharded model and optimizer in, `step-00000050/` out and back again, on any number of ranks.

torch.distributed.checkpoint writes one safetensors file a rank, so nothing is ever unpickled. The folder is written
under another name and gets its own only when every byte and the manifest are on the disk: a name is a whole checkpoint.
One that was damaged later is found by size and hash, and never loaded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
import torch.distributed.checkpoint as dcp

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.files import fsync_file, fsync_folder, hash_file, naming_full_disks, remove
from pile_toolkit.core.manifest import MANIFEST, OutputFile, StageKey, describe, publish, read_manifest, withdraw
from trainer.loss_scale import LossScale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from trainer.config import CheckpointConfig
    from trainer.distributed import World

CHECKPOINTS = "checkpoints"
FORMAT = 3
MOMENTS = ("exp_avg", "exp_avg_sq")
_NAME = re.compile(r"step-(\d{8,})")

# The writer says at every save that it leaves the ranks' files apart, which is meant; the other logs every call.
for _name in ("torch.distributed.checkpoint.hf_storage", "c10d-NullHandler-dcp_logger"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """After `step` steps, `updates` of them updates: fp16 skips some, and has a `loss_scale` for the next one.

    The next sample is number `sample` of the index; `metrics` is the hash of the rows so far.
    """

    step: int
    sample: int
    metrics: str
    updates: int
    loss_scale: LossScale | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder whose manifest says that it is whole; `training` is all that the weights depend on."""

    path: Path
    progress: Progress
    training: dict[str, Any]
    files: tuple[OutputFile, ...]

    @property
    def step(self) -> int:
        """How many steps were done."""
        return self.progress.step

    @property
    def sample(self) -> int:
        """The number of the next sample in the index."""
        return self.progress.sample


def find_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints of `folder`, oldest first, judged by name and size; cut off while written is none."""
    return [one for one in written_checkpoints(folder) if damage(one, thorough=False) is None]


def written_checkpoints(folder: Path, say: Callable[[str], None] | None = None) -> list[Checkpoint]:
    """All that were once whole, oldest first, whatever has happened to their files since.

    One whose manifest cannot be read is passed over with a word. Raises UsageError for those of another version.
    """
    found = []
    for path in _folders(folder):
        try:
            one = read_checkpoint(path)
        except CorruptData as error:
            if say:
                say(error.message)
            continue
        found += [one] if one else []
    return sorted(found, key=lambda one: one.step)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`, whatever has happened to its files since; None where there is none.

    Raises CorruptData where its manifest cannot be read, UsageError where it is another version's.
    """
    manifest = read_manifest(path)
    if manifest is None or manifest.key.stage != "checkpoint":
        return None
    if manifest.key.format != FORMAT:
        raise UsageError(
            f"{path} is a checkpoint of format {manifest.key.format}, this version reads format {FORMAT}",
            hint=f"rm -r {path} gives it up, another --name keeps it",
        )
    try:
        progress = msgspec.convert(manifest.counts, Progress)
    except msgspec.ValidationError as error:
        raise CorruptData(f"{path / MANIFEST} does not say how far its training was: {error}") from error
    for file in manifest.outputs:
        # A checkpoint may come from anywhere: its manifest names no file but its own.
        if file.path != Path(file.path).name or file.path in (".", ".."):
            raise CorruptData(f"{path / MANIFEST} names {file.path!r}, which does not lie in its folder")
    return Checkpoint(
        path=path,
        progress=progress,
        training=manifest.key.parameters,
        files=tuple(manifest.outputs),
    )


def damage(checkpoint: Checkpoint, *, thorough: bool = True, rank: int = 0, ranks: int = 1) -> str | None:
    """What is wrong with its files, None where nothing is; `thorough` reads every byte, each of `ranks` its share."""
    names = {file.path for file in checkpoint.files}
    for path in sorted(checkpoint.path.glob("*.safetensors")):
        if path.name not in names:
            return f"{path} does not belong to its checkpoint"
    for file in checkpoint.files[rank::ranks]:
        path = checkpoint.path / file.path
        try:
            size = path.stat().st_size
            if size != file.bytes:
                return f"{path} has {size:,} bytes, {file.bytes:,} were written"
            if thorough and hash_file(path) != file.hash:
                return f"{path} is not as it was written (its hash is not {file.hash})"
        except PermissionError:
            # Says nothing about the file; taken for damage, a training would begin behind it.
            raise
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    return None


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
    folder: Path, progress: Progress, *, training: dict[str, Any], state: dict[str, Tensor], world: World
) -> Path:
    """Writes `folder/step-<step>` on all ranks together and returns it; one of that step is replaced.

    What is said of the progress counts on the first rank. Raises OutOfSpace where the disk of any rank is full.
    """
    started_at = time.time()
    final = folder / f"step-{progress.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if world.is_first:
        remove(temporary)
        temporary.mkdir(parents=True)
    world.barrier()
    needs_bytes = sum(tensor.nbytes for tensor in state.values())
    with naming_full_disks(final, needs_bytes=needs_bytes), _own_errors(temporary):
        writer = dcp.HuggingFaceStorageWriter(str(temporary), save_distributed=True)
        dcp.save(state, storage_writer=writer, process_group=world.group)
    for path in temporary.glob(f"shard-{world.rank + 1:05d}-*.safetensors"):
        _sort_names(path)
    # Each rank hashes what it has written; rank 0 publishes.
    mine = [describe(temporary, path) for path in sorted(temporary.glob(f"shard-{world.rank + 1:05d}-*.safetensors"))]
    files = [file for files in world.gather(mine) for file in files]
    if world.is_first:
        key = StageKey(stage="checkpoint", format=FORMAT, parameters=training)
        counts = msgspec.to_builtins(progress) | {"training": key.digest()}
        publish(temporary, key, outputs=files, counts=counts, started_at=started_at)
        _delete(final)
        temporary.replace(final)
        fsync_folder(folder)
    world.barrier()
    return final


def _sort_names(path: Path) -> None:
    """Puts the metadata of a safetensors header in order: the library's own order changes from process to process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        # The library pads with spaces, so there is room for the same entries in another order.
        if len(encoded) <= length:
            file.seek(8)
            file.write(encoded.ljust(length))
    fsync_file(path)


@contextlib.contextmanager
def _own_errors(temporary: Path) -> Iterator[None]:
    # torch collects the errors of all ranks in one of its own, under which a full disk would look like a defect.
    try:
        yield
    except dcp.CheckpointException as error:
        shutil.rmtree(temporary, ignore_errors=True)  # Half a checkpoint would keep a full disk full.
        raise _first_failure(error) from error


def _first_failure(error: dcp.CheckpointException) -> BaseException:
    return next(failure for failure, _ in error.failures.values())


def load_checkpoint(checkpoint: Checkpoint, state: dict[str, Tensor], *, world: World | None = None) -> None:
    """Fills the tensors of `state`, each rank its part of them, from files that `damage` has found nothing in.

    Without a world this process loads alone, which needs no process group. Raises CorruptData where the tensors are
    not those of `state`.
    """
    with warnings.catch_warnings():
        # A single process without a group is what is meant, not an oversight.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        reader = dcp.HuggingFaceStorageReader(str(checkpoint.path))
        try:
            dcp.load(state, storage_reader=reader, no_dist=world is None)
        except dcp.CheckpointException as error:
            fact = f"{checkpoint.path} does not hold the tensors of its model: {_first_failure(error)}"
            raise CorruptData(fact) from error


def remove_old(folder: Path, policy: CheckpointConfig, *, newest: int) -> None:
    """Removes all checkpoints up to step `newest` but those that the policy keeps, and leftovers of cut-off work.

    Those after `newest`, which was just written, are damaged ones that training went back behind: they do not count,
    and stay until their step is reached again.
    """
    for leftover in folder.glob(".step-*.tmp"):
        remove(leftover)
    for path in _folders(folder):
        if not (path / MANIFEST).exists():
            remove(path)
    if policy.keep_last is None:
        return
    whole = [one.step for one in find_checkpoints(folder) if one.step <= newest]
    kept = {*whole[-policy.keep_last :], *filter(policy.stays, whole)}
    for one in written_checkpoints(folder):
        if one.step <= newest and one.step not in kept:
            _delete(one.path)


def _delete(path: Path) -> None:
    if path.exists():
        withdraw(path)  # Half a folder must not look like a checkpoint.
        remove(path)

"""The state of a training in, its checkpoint on the disk a while later: steps go on while files are written.

The state is copied to the memory of the host before `save` returns. One checkpoint is on its way at a time; until its
manifest is there its folder has another name, so that a kill at any moment leaves the one before as the newest.
"""

from __future__ import annotations

import contextvars
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from trainer.checkpoint import Progress, remove_old, save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from trainer.config import CheckpointConfig
    from trainer.distributed import World


class CheckpointWriter:
    """Saves to `folder`, and keeps there what `policy` says."""

    def __init__(self, folder: Path, policy: CheckpointConfig, world: World) -> None:
        """All ranks make one together."""
        self.folder, self.policy = folder, policy
        self._world = world.apart() if policy.asynchronous else world
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        # Its copies are kept for the next checkpoint: host memory is asked for once.
        self._stager = DefaultStager(StagingOptions(False, False, False, False))
        self._pending: Future[None] | None = None

    def save(self, progress: Progress, *, training: dict[str, Any], state: dict[str, Tensor]) -> None:
        """A checkpoint of the values that `state` has now. Raises what went wrong with the one before."""
        self.wait()
        if not self.policy.asynchronous:
            self._write(progress, training, state)
            return
        copied = self._stager.stage(state)
        # The thread writes under the leases of the block that has begun it.
        context = contextvars.copy_context()
        self._pending = self._thread.submit(context.run, self._write, progress, training, copied)

    def _write(self, progress: Progress, training: dict[str, Any], state: Any) -> None:
        save_checkpoint(self.folder, progress, training=training, state=state, world=self._world)
        if self._world.is_first:
            remove_old(self.folder, self.policy, newest=progress.step)

    def wait(self) -> None:
        """Returns once no checkpoint is on its way. Raises OutOfSpace where the disk was full for it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Lets the last one finish; what goes wrong then is told by `wait`, which an end without an error calls."""
        self._thread.shutdown(wait=True)
        self._stager.close()

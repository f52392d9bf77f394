"""Every kind of layout beside one process, and the 20B recipe itself on 16 ranks: killed, continued, exported.

Minutes of eight and sixteen processes: `make campaign` runs `python -m tests.trainer.all_layouts`, the suite a part.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.trainer.conftest import REPOSITORY, VOCAB_SIZE, learnable_documents, write_tokens
from tests.trainer.layouts import WORKER, degrees, difference, train_layouts
from trainer.checkpoint import find_checkpoints
from trainer.convert import export_huggingface, load_model
from trainer.metrics import METRICS, read_rows

EIGHT = {
    "data 8": {},
    "tensor 2 x data 4": degrees(tensor=2),
    "pipeline 2 x data 2 x tensor 2": degrees(pipeline=2, tensor=2),
    "pipeline 4 x tensor 2": degrees(pipeline=4, tensor=2),
    "tensor 4 x data 2": degrees(tensor=4),
    "replicas 2 x shards 4": degrees(replicas=2),
    "zero 2": degrees(zero=2),
    "zero 3": degrees(zero=3),
    "pipeline 2, zero 2": degrees(pipeline=2, zero=2),
    "pipeline 2, zero 3, tensor 2": degrees(pipeline=2, zero=3, tensor=2),
    "interleaved": degrees(pipeline=2, stages_per_rank=2, schedule="interleaved"),
    "zero-bubble": degrees(pipeline=4, schedule="zero-bubble"),
    "recomputed": degrees(pipeline=2, tensor=2) | {"train.activation_checkpointing": "full"},
    "attention reset": degrees(pipeline=2, tensor=2) | {"attention.reset_at_eod": True},
    "micro-batches of other sizes": degrees(pipeline=4) | {"data.micro_batch": 2},
}
KEYS = {"float64": {"loss": 1e-9, "grad_norm": 1e-9}, "float32": {"loss": 1e-5, "grad_norm": 1e-4}}
# Of the 20B recipe only widths, layers, vocabulary and batch; fp16's scale begins where the first steps overflow.
TWENTY = {
    "model.layers": 4,
    "model.hidden_size": 64,
    "model.heads": 8,
    "model.feed_forward_size": 256,
    "data.sequence_length": 32,
    "data.global_batch": 32,
    "data.micro_batch": 2,
    "train.steps": 12,
    "train.device": "cpu",
    "checkpoint.interval": 4,
    "validation.interval": 6,
    "validation.batches": 1,
    "loss_scale.initial_scale_power": 24,
    "loss_scale.hysteresis": 1,
}


def main() -> int:
    """One line for each comparison; 1 where one is further apart than its bound."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        shards.mkdir()
        write_tokens(shards / "train", learnable_documents(1, 200))
        write_tokens(shards / "val", learnable_documents(2, 12))
        for dtype, bounds in KEYS.items():
            failed += _compare_eight(Path(folder) / dtype, shards, dtype, bounds)
        failed += _train_twenty(Path(folder) / "twenty", shards)
    return 1 if failed else 0


def _compare_eight(folder: Path, shards: Path, dtype: str, bounds: dict[str, float]) -> int:
    alone = {"one": {}, "one, attention reset": {"attention.reset_at_eod": True}}
    train_layouts(folder, shards, alone, ranks=1, dtype=dtype)
    train_layouts(folder, shards, EIGHT, ranks=8, dtype=dtype)
    failed = 0
    for name in EIGHT:
        one = folder / ("one, attention reset" if name == "attention reset" else "one")
        found = {key: difference(one, folder / name, key) for key in bounds}
        wrong = any(found[key] > bound for key, bound in bounds.items())
        print(f"{dtype}  {name:30}", *(f"{key} {value:.1e}" for key, value in found.items()), "WRONG" if wrong else "")
        failed += wrong
    return failed


def _train_twenty(folder: Path, shards: Path) -> int:
    """The recipe on tensor 2 x pipeline 4 x data 2, killed after a checkpoint, beside one process; then its export."""
    folder.mkdir()
    _wait(_started(folder / "one", shards, 1, TWENTY | degrees(tensor=1, pipeline=1)))
    run = folder / "many"
    process = _started(run, shards, 16, TWENTY)
    assert process.stdout is not None
    # Past the first checkpoint, before the last step.
    next(line for line in process.stdout if line.strip() == str(TWENTY["checkpoint.interval"] + 2))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    cut_at = max(one.step for one in find_checkpoints(run / "checkpoints"))
    _wait(_started(run, shards, 16, TWENTY))
    skipped = [row["step"] for row in read_rows(run / METRICS) if row.get("skipped")]
    apart = difference(folder / "one", run, "loss")
    model = load_model(run)
    export_huggingface(model, model.config, folder / "exported")
    parameters = sum(each.numel() for each in load_model(folder / "exported").parameters())
    print(f"gpt-neox-20b, 16 ranks: killed after step {cut_at}, steps skipped for overflow {skipped}, loss {apart:.1e}")
    print(f"exported to Hugging Face: {parameters:,} parameters")
    return int(apart > 1e-3 or not skipped or not 0 < cut_at < TWENTY["train.steps"])


def _started(run: Path, shards: Path, ranks: int, overrides: dict[str, Any]) -> subprocess.Popen:
    job = {"runs": {str(run): {}}, "overrides": overrides, "recipe": "gpt-neox-20b", "shards": str(shards)}
    described = run.with_suffix(".json")
    described.write_text(json.dumps(job | {"vocab": VOCAB_SIZE, "dtype": "float32"}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command += [str(WORKER), str(described)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _wait(process: subprocess.Popen) -> None:
    process.communicate(timeout=900)
    if process.returncode:
        raise SystemExit(f"torchrun ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(main())

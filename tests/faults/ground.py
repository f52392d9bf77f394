"""The ground of the fault tests: one corpus, one undisturbed run of it, and roots that are finished up to a stage.

The corpus comes in every way in: two files of a folder, a server, the built-in sample. A root of a case starts as a
copy of the finished one without the stage in question and all after it, so that a run does only what is left.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pile_toolkit.chain.verify import verify
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.manifest import MANIFEST
from tests.chain.small_chain import DATA_CONFIG, TRAIN_TABLES, deterministic_outputs, pile_command, process_environment
from tests.core.conftest import Server
from tests.faults.outcome import demand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEADLY = Path(__file__).with_name("deadly")
# Slugs by the way in: `enron-emails` and `ubuntu-irc` as several files of a folder, so that a pool has what to share.
FOLDER_FILES = {"enron-emails": 4, "stackexchange": 2}
SERVED = "ubuntu-irc"
SAMPLED = "gutenberg-pg-19"
DOCUMENTS_PER_FILE = 20
# Long also for a machine with ten times more to do than it can; passed only where something is wrong.
PATIENCE_S = 300.0

# Stage: the folder it writes, and what its predecessor says when it is done.
FOLDERS = {
    "download": "components",
    "dedup": "dedup",
    "plan": "plan",
    "corpus": "corpus",
    "tokenizer": "tokenizer",
    "shards": "shards",
    "train": "runs",
    "report": "reports",
}
PREDECESSORS = {
    "download": None,
    "dedup": "download",
    "plan": "dedup",
    "corpus": "dedup",
    "tokenizer": "build",
    "shards": "tokenizer",
    "train": "shards",
    "report": "train",
}
MINHASH = '\n[dedup]\nmethod = "minhash"\nthreshold = 0.6\nnum_perm = 64\nverify = true\n'


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An undisturbed root: its outputs, all its files, and what each stage took (s) and changed (file operations)."""

    config: Path
    root: Path
    outputs: dict[str, str]
    files: frozenset[str]
    elapsed_s: dict[str, float]
    operations: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """`full` is a run of all stages, `data` the same without training, `near` with MinHash, to the report as well."""

    folder: Path
    full: Finished
    data: Finished
    near: Finished

    def start(self, finished: Finished, stage: str, root: Path) -> None:
        """Makes `root` what it is before `stage`."""
        copy_root(finished.root, root)
        for name in list(FOLDERS.values())[list(FOLDERS).index(stage) :]:
            if (root / name).exists():
                shutil.rmtree(root / name)


def copy_root(source: Path, target: Path) -> None:
    """A copy with the times of the files, by which the stages judge them."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@contextlib.contextmanager
def prepared(folder: Path, *, minhash: bool = True) -> Iterator[Ground]:
    """Writes the corpus, serves it and runs it undisturbed; without `minhash`, `near` is `data`."""
    _write_sources(folder / "source")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        server.content = (folder / "source" / f"{SERVED}.jsonl.zst").read_bytes()
        data = _data_config(server.server_port)
        exact = _run_undisturbed(folder, "data", data)
        near = _run_undisturbed(folder, "near", data + MINHASH) if minhash else exact
        full = _run_undisturbed(folder, "full", data + TRAIN_TABLES, exact.root)
        yield Ground(folder=folder, full=full, data=exact, near=near)
        server.shutdown()
        thread.join()


def _write_sources(folder: Path) -> None:
    from pipelines.sample import sample_documents

    for slug, files in {**FOLDER_FILES, SERVED: 1}.items():
        documents = islice(sample_documents(slug), files * DOCUMENTS_PER_FILE)
        for number in range(files):
            name = f"{slug}/{number:02d}.jsonl.zst" if slug in FOLDER_FILES else f"{slug}.jsonl.zst"
            with DocumentWriter(folder / name) as writer:
                for text, meta in islice(documents, DOCUMENTS_PER_FILE):
                    writer.write(text, meta)


def _data_config(port: int) -> str:
    slugs = ", ".join(f'"{slug}"' for slug in (*FOLDER_FILES, SERVED, SAMPLED))
    sources = f'{{ default = "source", {SERVED} = "http://127.0.0.1:{port}/", {SAMPLED} = "sample:" }}'
    return DATA_CONFIG.format(slugs=slugs).replace('from = "source"', f"from = {sources}")


def _run_undisturbed(folder: Path, name: str, text: str, before: Path | None = None) -> Finished:
    config, root, log = folder / f"{name}.toml", folder / name, folder / f"{name}.log"
    config.write_text(text)
    if before is not None:
        copy_root(before, root)
        shutil.rmtree(root / "reports")
    with running(config, root, fault={"FAULT_FOLDER": f"{root}/", "FAULT_LOG": str(log)}) as run:
        run.ends()
        demand(run.process.returncode == 0, f"the undisturbed run ended with {run.process.returncode}: {run.said()}")
    operations = Counter(_stage_of(Path(line.partition(" ")[2]), root) for line in log.read_text().splitlines())
    return Finished(
        config=config,
        root=root,
        outputs=deterministic_outputs(root),
        files=files_of(root),
        elapsed_s=_stage_seconds(run, root),
        operations=dict(operations),
    )


def _stage_of(path: Path, root: Path) -> str:
    first = path.relative_to(root).parts[0]
    return next((stage for stage, folder in FOLDERS.items() if folder == first), "lease")


def _stage_seconds(run: RunningPile, root: Path) -> dict[str, float]:
    ends = {"start": run.started_at}
    for moment, line in run.lines:
        stage = line.partition("] ")[2].partition(":")[0]
        ends[stage] = moment
    ends["plan"] = (root / "plan" / MANIFEST).stat().st_mtime
    ends["corpus"] = ends["build"]
    began: dict[str, Any] = {
        **PREDECESSORS,
        "download": "start",
        "corpus": "plan",
        "report": "train" if "train" in ends else "shards",
    }
    return {stage: max(ends[stage] - ends[began[stage]], 0.01) for stage in FOLDERS if stage in ends}


def files_of(root: Path) -> frozenset[str]:
    """All files and folders below a root: an undisturbed run leaves these and no others."""
    return frozenset(str(path.relative_to(root)) for path in root.rglob("*"))


class RunningPile:
    """A `pile` process in a group of its own, and what it says, line by line with the time.

    `wrapper` is a command that ends in starting the one behind it, in a place of its own.
    """

    def __init__(
        self, arguments: Sequence[str | Path], environment: Mapping[str, str], wrapper: Sequence[str] = ()
    ) -> None:
        self.started_at = time.time()
        self.lines: list[tuple[float, str]] = []
        self._coming: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [*wrapper, *pile_command(arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**process_environment(), **environment},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.time(), line))
            self._coming.put(line)
        self._coming.put(None)

    def says(self, start: str) -> bool:
        """Waits for the line of a stage that is done; False where the process ends without."""
        while (line := self._coming.get(timeout=PATIENCE_S)) is not None:
            if f"] {start}:" in line:
                return True
        return False

    def ends(self, within_s: float = PATIENCE_S) -> bool:
        """Waits for the end of the process."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        # Workers that hold the other end of the pipe are looked for by `left_alive`, not waited for here.
        self._reader.join(0.5)
        return True

    def said(self) -> str:
        """All lines so far."""
        return "".join(line for _, line in list(self.lines))

    def members(self) -> list[psutil.Process]:
        """The processes of its group that are not yet buried."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(process.pid) == self.process.pid and process.pid != self.process.pid:
                    found.append(process)
        return found

    def left_alive(self) -> list[psutil.Process]:
        """Its processes that still run after a patient wait; zombies only wait for a parent that may never ask."""
        _, alive = psutil.wait_procs(self.members(), timeout=0.2)
        for waited in range(int(PATIENCE_S)):
            alive = [process for process in alive if _runs(process)]
            if not alive or waited > PATIENCE_S / 4:
                break
            _, alive = psutil.wait_procs(alive, timeout=0.5)
        return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(
    config: Path,
    root: Path,
    *options: str,
    fault: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Iterator[RunningPile]:
    """`pile run config --root root` with two jobs unless told otherwise; nothing of it is left when the block ends."""
    environment = {"PYTHONPATH": str(DEADLY), **fault} if fault else {}
    jobs = () if "--jobs" in options else ("--jobs", "2")
    run = RunningPile(["run", config, "--root", root, *jobs, *options], environment, wrapper)
    try:
        yield run
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def complete(finished: Finished, root: Path, *options: str) -> None:
    """Runs `root` to its end and compares: the bytes, the files and no process more than an undisturbed run leaves."""
    with running(finished.config, root, *options) as run:
        demand(run.ends(), f"the run does not end: {run.said()}")
        demand(run.process.returncode == 0, f"run again it ended with {run.process.returncode}: {run.said()}")
        demand(not run.left_alive(), f"alive after the run: {run.left_alive()}")
    compare(finished, root)


def compare(finished: Finished, root: Path) -> None:
    """Raises Lost where a finished root differs from the undisturbed one."""
    outputs = deterministic_outputs(root)
    different = sorted(name for name, _ in outputs.items() ^ finished.outputs.items())
    demand(not different, f"other bytes in {', '.join(different)}")
    demand_sound(root)
    files = files_of(root)
    demand(not files - finished.files, f"left over: {', '.join(sorted(files - finished.files))}")
    demand(not finished.files - files, f"missing: {', '.join(sorted(finished.files - files))}")


def demand_sound(root: Path) -> None:
    """Raises Lost where a manifest under `root` names what is not so: half-written must never look finished."""
    if any(root.glob(f"*/{MANIFEST}")) or any(root.glob(f"*/*/{MANIFEST}")):
        faults = verify(root).faults
        demand(not faults, f"a manifest stands over damage: {faults}")


@contextlib.contextmanager
def scratch(ground: Ground) -> Iterator[Path]:
    """An empty folder for one case."""
    with tempfile.TemporaryDirectory(dir=ground.folder, prefix="case-") as folder:
        yield Path(folder)

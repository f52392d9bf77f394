"""A seed in, an outcome out: the disk is full somewhere in a stage, is made larger, and the same command completes.

The disk is a real file system in memory that holds the root up to the stage and a drawn part of what the stage writes.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST
from tests.chain.small_chain import deterministic_outputs, pile_command, process_environment
from tests.faults.bulk import BUILD, FILTERED, PLAIN, begin_bulk, bulk_folder
from tests.faults.ground import (
    FOLDER_FILES,
    FOLDERS,
    PATIENCE_S,
    SAMPLED,
    SERVED,
    copy_root,
    demand_sound,
    files_of,
    scratch,
)
from tests.faults.outcome import Lost, demand, judged
from tests.making import resize_disk, small_disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.ground import Ground
    from tests.faults.outcome import Outcome

STAGES = (
    *FOLDERS,
    "mix",
    "export",
    "minhash",
    "against",
    "filters",
    "plan, copies moved",
    "corpus, pass 1",
    "corpus, pass 2",
    "stats",
    "lock",
    "diff",
)
AMPLE_BYTES = 64 << 20
PAGE_BYTES = 4096
# Beside its outputs a stage has parts and temporary files; where a draw left room enough, the next has half of it.
NEED_PER_OUTPUT = 1.6
ATTEMPTS = 10
OUT_OF_SPACE = 5
EXCERPT_CHARACTERS = 400
# A download knows the size of what comes before its first byte.
_MISSING = re.compile(r"about ([\d,]+) more are needed|needs ([\d,]+) more bytes")
_alone = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage alone: the folder it writes (seen from the disk) and its command, where {root} and so on are filled.

    `begin` is the root of `bulk_root` that it finds, None for one of the ground's; `hits` what the error has to name.
    `least` is the smallest part of what it needs that is drawn: with less it would not come so far.
    """

    writes: str
    command: str
    begin: str | None = None
    hits: str = ""
    least: float = 0.0


def _stages(jobs: int = 1) -> dict[str, Stage]:
    slugs = " ".join((*FOLDER_FILES, SERVED, SAMPLED))
    build = f"build --config {{data}} --root {{root}} --jobs {jobs}"
    return {
        "download": Stage(
            writes="root/components", command=f"download {slugs} --config {{data}} --root {{root}} --jobs {jobs}"
        ),
        "dedup": Stage(writes="root/dedup", command=f"dedup --config {{data}} --root {{root}} --jobs {jobs}"),
        "plan": Stage(writes="root/plan", command=f"{build} --no-write-corpus"),
        "corpus": Stage(writes="root/corpus", command=build),
        "tokenizer": Stage(writes="root/tokenizer", command="tokenizer train --config {data} --root {root}"),
        "shards": Stage(writes="root/shards", command=f"shards write --config {{data}} --root {{root}} --jobs {jobs}"),
        "train": Stage(writes="root/runs/debug", command="run {full} --root {root}"),
        "report": Stage(writes="root/reports", command="report --root {root}"),
        "mix": Stage(writes="root/mixes/other", command="shards mix other --weights {weights} --root {root}"),
        "minhash": Stage(
            writes="root/dedup",
            command=f"dedup --method minhash --threshold 0.6 --num-perm 64 --verify --root {{root}} --jobs {jobs}",
        ),
        "against": Stage(writes="root/dedup", command=f"dedup --against {{evaluation}} --root {{root}} --jobs {jobs}"),
        "export": Stage(writes="model", command="export {root}/runs/debug {disk}/model --to hf"),
        "filters": Stage(writes="root/components", command=f"{PLAIN} {FILTERED}", begin="plain"),
        "plan, copies moved": Stage(
            writes="root/plan", command=f"{BUILD} --no-write-corpus", begin="deduplicated", hits=r"/plan/\S+\.parquet"
        ),
        "corpus, pass 1": Stage(writes="root/corpus", command=BUILD, begin="planned", hits="/deal-"),
        # The blocks have room, and with them some of the outputs.
        "corpus, pass 2": Stage(writes="root/corpus", command=BUILD, begin="planned", hits="/sort-", least=1.0),
        "stats": Stage(writes="root/stats", command=f"stats --root {{root}} --jobs {jobs}", begin="planned"),
        "lock": Stage(writes="locks", command="lock --root {root} -o {disk}/locks/told.lock", begin="told"),
        "diff": Stage(writes="pages", command="diff {bulk}/few {root} --html {disk}/pages/diff.html", begin="few"),
    }


def fill(ground: Ground, seed: int) -> Outcome:
    """One case: seeds go through the stages in turn."""
    stage = STAGES[seed % len(STAGES)]
    share = random.Random(f"disk {seed}").random()
    return fill_stage(ground, stage, share, seed)


def fill_stage(ground: Ground, stage: str, share: float, seed: int = 0, *, jobs: int = 2) -> Outcome:
    """Room for `share` of what a stage needs beside what is there before it."""
    return judged("disk", stage, seed, lambda: _fill(ground, stage, share, jobs))


def _fill(ground: Ground, name: str, share: float, jobs: int) -> str:
    stage, (expected, needed_bytes) = _stages(jobs)[name], _reference(ground, name)
    share += stage.least
    for _ in range(ATTEMPTS):
        room_bytes = int(share * needed_bytes * NEED_PER_OUTPUT) // PAGE_BYTES * PAGE_BYTES
        with scratch(ground) as folder, small_disk(folder / "disk", size_bytes=AMPLE_BYTES) as disk:
            _begin(ground, name, disk / "root")
            resize_disk(disk, size_bytes=_used_bytes(disk) + room_bytes)
            code, said = _run(ground, stage, disk)
            if code == 0:
                share *= 0.9 if stage.least else 0.5
                continue
            missing_bytes = _judge_refusal(disk, stage, code, said)
            if not re.search(stage.hits, said):
                # Too early or too late.
                share *= 1.25 if stage.least else 0.5
                continue
            resize_disk(disk, size_bytes=AMPLE_BYTES)
            code, said = _run(ground, stage, disk)
            demand(code == 0, f"with room again it ended with {code}: {said}")
            _compare(expected, disk)
            return f"room for {room_bytes:,} bytes, {missing_bytes:,} said to be missing"
    raise AssertionError(f"{name} does not fail where it should with room for {room_bytes:,} bytes: {said}")


def _judge_refusal(disk: Path, stage: Stage, code: int, said: str) -> int:
    """Demands one sentence that says where and how much, and nothing half-written that looks finished."""
    demand(code == OUT_OF_SPACE, f"a full disk ends with exit code {code}: {said}")
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    demand(len(errors) == 1 and "Traceback" not in said, f"not one sentence: {said}")
    demand(str(disk) in errors[0], f"it is not said where: {said}")
    missing = _MISSING.search(errors[0])
    demand(missing, f"the missing bytes are not said: {said}")
    if stage.writes != "root/components":
        demand(not (disk / stage.writes / MANIFEST).exists(), f"{stage.writes} looks finished")
    demand_sound(disk / "root")
    assert missing is not None
    return int((missing[1] or missing[2]).replace(",", ""))


def _begin(ground: Ground, name: str, root: Path) -> None:
    if (begun := _stages()[name].begin) is not None:
        begin_bulk(ground, begun, root)
    elif name in FOLDERS:
        ground.start(ground.full, name, root)
    else:
        copy_root(ground.full.root, root)


def _run(ground: Ground, stage: Stage, disk: Path) -> tuple[int, str]:
    weights = ground.folder / "weights.toml"
    places = {"root": disk / "root", "disk": disk, "data": ground.data.config, "full": ground.full.config}
    beside = {"weights": weights, "evaluation": ground.folder / "evaluation", "bulk": bulk_folder(ground)}
    arguments = [word.format(**places, **beside) for word in stage.command.split()]
    done = subprocess.run(
        pile_command(arguments), capture_output=True, text=True, env=process_environment(), timeout=PATIENCE_S
    )
    return done.returncode, done.stderr


def _reference(ground: Ground, name: str) -> tuple[dict[str, str], int]:
    """What the stage leaves where there is room, and the bytes of its own files."""
    folder = ground.folder / f"disk-{name}"
    with _alone:
        if not folder.exists():
            folder.mkdir()
            _make_reference(ground, name, folder)
    written = folder / _stages()[name].writes
    # Of a mix the .bin files are links, which cost nothing.
    own = [path.stat() for path in written.rglob("*") if path.is_file()]
    needed = sum(-(-status.st_size // PAGE_BYTES) * PAGE_BYTES for status in own if status.st_nlink == 1)
    return _content(folder), needed


def _make_reference(ground: Ground, name: str, folder: Path) -> None:
    if name in FOLDERS:
        later = [*FOLDERS, None][list(FOLDERS).index(name) + 1]
        # A training is run as a whole chain, to the report.
        if later is None or name == "train":
            copy_root(ground.full.root, folder / "root")
        else:
            ground.start(ground.full, later, folder / "root")
        return
    weights = "".join(f"{slug} = 1.5\n" for slug in (*FOLDER_FILES, SERVED, SAMPLED))
    (ground.folder / "weights.toml").write_text(weights)
    _write_evaluation_set(ground)
    _begin(ground, name, folder / "root")
    code, said = _run(ground, _stages()[name], folder)
    if code != 0:
        shutil.rmtree(folder)
        raise Lost(f"{name} alone, with room, ended with {code}: {said}")


def _write_evaluation_set(ground: Ground) -> None:
    """Questions that stand word by word in some of the documents."""
    (ground.folder / "evaluation").mkdir(exist_ok=True)
    files = sorted((ground.folder / "source").rglob("*.jsonl.zst"))
    texts = [next(iter(read_documents(path))).text for path in files]
    lines = "".join(json.dumps({"question": text[:EXCERPT_CHARACTERS]}) + "\n" for text in texts)
    (ground.folder / "evaluation" / "questions.jsonl").write_text(lines)


def _content(folder: Path) -> dict[str, str]:
    """Hashes of all that depends on the inputs alone, and the names of all files."""
    # An exported model has no manifest.
    model = {f"model/{path.name}": hash_file(path) for path in (folder / "model").glob("*")}
    return dict.fromkeys(files_of(folder), "") | model | _of_manifests(folder / "root")


def _of_manifests(root: Path) -> dict[str, str]:
    return {f"root/{name} of its manifest": hash_ for name, hash_ in deterministic_outputs(root).items()}


def _compare(expected: dict[str, str], disk: Path) -> None:
    different = sorted({key for key, _ in _content(disk).items() ^ expected.items()})
    demand(not different, f"not as with room from the start: {', '.join(different)}")
    demand_sound(disk / "root")


def _used_bytes(disk: Path) -> int:
    return shutil.disk_usage(disk).used

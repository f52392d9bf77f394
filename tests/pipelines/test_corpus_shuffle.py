"""The real text in thirty shards: the plan's copies, in any memory, by any workers, after kills and full disks."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import DiskFull, UsageError
from pile_toolkit.core.files import hash_file, tree_bytes
from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.core.plan import SPLITS, Plan
from pile_toolkit.core.tasks import RESULT, WORK_PREFIX
from pipelines.build import build
from pipelines.corpus import corpus_names, write_corpus_files
from pipelines.corpus.loading import load_kernels
from pipelines.dedup import dedup
from pipelines.download import download
from tests.making import resize_disk, small_disk

# Half of the documents' epochs are no whole numbers.
WEIGHTS = {"arxiv": 1.5, "github": 1.0, "pubmed-abstracts": 2.5, "dm-mathematics": 1.0, "freelaw": 0.5}
AMPLE_BYTES = 128 << 20
# The least that one worker of this test can be given, and some.
LITTLE = "256MiB"


def planned_root(root: Path, source: Path, **options) -> Path:
    slugs = list(options["weights"])
    download(root, components=slugs, source=str(source))
    dedup(root, method="none")
    build(root, val_share=0.01, test_share=0.01, write_corpus=False, **options)
    return root


@pytest.fixture(scope="module")
def planned(minipile, tmp_path_factory) -> Path:
    """Five real components with their plan."""
    return planned_root(tmp_path_factory.mktemp("planned") / "root", minipile, weights=WEIGHTS)


@pytest.fixture
def copy_of(planned, tmp_path):
    """(name): the planned root once more, where the components' own files stay where they are."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(planned, tmp_path / name, ignore=shutil.ignore_patterns("corpus")))

    return copy


@pytest.fixture(scope="module")
def thirty(planned) -> Path:
    """The root with its corpus in thirty shards."""
    write_corpus_files(planned, train_shards=30)
    return planned


def hashes(root: Path) -> dict[str, str]:
    folder = root / "corpus"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "timings.json"]
    return {str(path.relative_to(folder)): hash_file(path) for path in files}


def lines_of(path: Path) -> list[bytes]:
    # What `zstdcat FILE` prints.
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read().splitlines(keepends=True)


def texts_of(root: Path, split: str) -> list[str]:
    folder = root / "corpus"
    paths = sorted((folder / "train").iterdir()) if split == "train" else [folder / f"{split}.jsonl.zst"]
    return [json.loads(line)["text"] for path in paths for line in lines_of(path)]


def planned_texts(root: Path) -> dict[str, str]:
    texts = {}
    for slug in WEIGHTS:
        for file in read_component(root, slug).files:
            for document in read_documents(file.path):
                texts[f"{slug}/{file.counts.name}:{document.line}"] = document.text
    return texts


def test_the_files_in_sequence_are_the_plans_copies_in_its_order(thirty):
    plan, texts = Plan.read(thirty), planned_texts(thirty)
    assert len(list((thirty / "corpus" / "train").iterdir())) == 30
    for split in SPLITS:
        expected = [texts[plan.document_id(row)] for row in plan.entries(split).row]
        assert texts_of(thirty, split) == expected
    copies = Counter()
    for row, count in enumerate(plan.column("copies").tolist()):
        copies[texts[plan.document_id(row)]] += count
    written = Counter(text for split in SPLITS for text in texts_of(thirty, split))
    assert written == +copies
    assert set(plan.column("copies").tolist()) == {0, 1, 2, 3}


def test_datasets_and_zstdcat_read_the_same_documents(thirty, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    names = {"train": sorted(map(str, (thirty / "corpus" / "train").iterdir()))[:3]}
    names |= {split: [str(thirty / "corpus" / f"{split}.jsonl.zst")] for split in ("val", "test")}
    loaded = datasets.load_dataset("json", data_files=names, cache_dir=str(tmp_path / "cache"))
    for split, paths in names.items():
        rows = [json.loads(line) for path in paths for line in lines_of(Path(path))]
        assert loaded[split]["text"][:] == [row["text"] for row in rows]
        assert [meta["pile_set_name"] for meta in loaded[split]["meta"]] == [
            row["meta"]["pile_set_name"] for row in rows
        ]


def test_the_compiled_loop_changes_nothing(thirty, copy_of):
    load_kernels()
    root = copy_of("compiled")
    write_corpus_files(root, train_shards=30)
    assert hashes(root) == hashes(thirty)


@pytest.mark.parametrize(
    ("scheduler", "jobs"),
    # Daily Dask has the corpus in tests/faults: "tcp, build".
    [("serial", 1), ("process", 2), pytest.param("dask", 2, marks=pytest.mark.campaign)],
    ids=["serial", "processes", "dask"],
)
def test_no_scheduler_and_no_amount_of_memory_changes_a_byte(thirty, copy_of, scheduler, jobs):
    root = copy_of("other")
    memory = {"serial": LITTLE, "process": "700MiB", "dask": None}[scheduler]
    write_corpus_files(root, train_shards=30, memory=memory, jobs=jobs, scheduler=scheduler)
    assert hashes(root) == hashes(thirty)


def test_one_large_shard_is_sorted_in_many_ranges_in_little_memory(copy_of):
    ample, little = copy_of("ample"), copy_of("little")
    for root, memory in ((ample, "8GiB"), (little, LITTLE)):
        write_corpus_files(root, train_shards=1, memory=memory)
    assert hashes(ample) == hashes(little)
    with pytest.raises(UsageError, match="are too little for 1 worker: it takes"):
        write_corpus_files(copy_of("least"), train_shards=1, memory="100MiB")


CALL = "from pipelines.corpus import write_corpus_files; write_corpus_files({root!r}, {options}, reporter=reporter)"


def test_a_run_killed_in_pass_2_goes_on_in_less_memory_from_what_fits(copy_of, run_killed):
    undisturbed, root = copy_of("undisturbed"), copy_of("killed")
    write_corpus_files(undisturbed, train_shards=2)
    call = CALL.format(root=str(root), options="train_shards=2")
    # Five files are dealt, then one of four outputs is sorted.
    assert run_killed(call, len(WEIGHTS) + 1) == -9
    (work,) = (root / "corpus").glob(f"{WORK_PREFIX}*")
    assert len(list(work.glob("deal-*"))) == len(WEIGHTS)
    write_corpus_files(root, train_shards=2, memory=LITTLE)
    assert hashes(root) == hashes(undisturbed)


@pytest.mark.parametrize("reports", [3, len(WEIGHTS) + 3])
def test_a_run_killed_in_either_pass_does_not_begin_anew(copy_of, run_killed, reports):
    undisturbed, root = copy_of("undisturbed"), copy_of("killed")
    write_corpus_files(undisturbed, train_shards=3)
    assert run_killed(CALL.format(root=str(root), options="train_shards=3"), reports) == -9
    (work,) = (root / "corpus").glob(f"{WORK_PREFIX}*")
    made = {path: path.stat().st_mtime_ns for path in work.glob(f"*/{RESULT}")}
    assert len(made) == reports
    write_corpus_files(root, train_shards=3)
    assert hashes(root) == hashes(undisturbed)


def test_scratch_files_go_as_soon_as_their_outputs_are_there(copy_of):
    root = copy_of("root")
    peak_bytes, left = 0, []

    class Watching:
        def say(self, text): ...

        @contextlib.contextmanager
        def progress(self, label, *, total, unit):
            yield self.look

        def look(self, units):
            nonlocal peak_bytes
            peak_bytes = max(peak_bytes, tree_bytes(root / "corpus"))
            left.append(len(list((root / "corpus").glob(f"{WORK_PREFIX}*/deal-*/*.blocks"))))

    read_before = io_bytes()
    write_corpus_files(root, train_shards=30, scheduler="serial", reporter=Watching())
    read, written = (after - before for after, before in zip(io_bytes(), read_before, strict=True))
    plan = Plan.read(root)
    text_bytes = int((plan.column("copies") * plan.column("bytes")).sum())
    # Blocks as long as the text, and a little more for keys and escapes; then files a third as long.
    assert peak_bytes < 1.6 * text_bytes
    # Seen before what the last output needed goes: a file of each task.
    assert left[-1] == len(WEIGHTS) < left[len(WEIGHTS)]
    # Once from the components, once from the blocks; once into them, once into the files; and tables.
    assert read < 1.6 * text_bytes
    assert written < 1.6 * text_bytes


def io_bytes() -> tuple[int, int]:
    """What this process has read and written so far."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"]), int(counters["wchar"])


@pytest.mark.parametrize("phase", ["deal", "sort"])
def test_a_disk_that_fills_in_either_pass_is_named_and_the_run_goes_on_with_room(thirty, planned, tmp_path, phase):
    with small_disk(tmp_path / "disk", size_bytes=AMPLE_BYTES) as disk:
        root = Path(shutil.copytree(planned, disk / "root", ignore=shutil.ignore_patterns("corpus")))
        used = shutil.disk_usage(disk).used
        # The outputs have 7 MB, the blocks, compressed on so small a disk, 11.
        share = {"deal": 0.5, "sort": 1.6}[phase]
        room = int(share * tree_bytes(thirty / "corpus"))
        resize_disk(disk, size_bytes=used + room)
        with pytest.raises(DiskFull) as error:
            write_corpus_files(root, train_shards=30)
        assert error.value.exit_code == 5
        assert not (root / "corpus" / MANIFEST).exists()
        (work,) = (root / "corpus").glob(f"{WORK_PREFIX}*")
        dealt = list(work.glob(f"deal-*/{RESULT}"))
        assert (len(dealt) == len(WEIGHTS)) == (phase == "sort")
        resize_disk(disk, size_bytes=AMPLE_BYTES)
        write_corpus_files(root, train_shards=30)
        assert hashes(root) == hashes(thirty)


def test_a_document_longer_than_the_room_is_sorted_all_the_same(tmp_path, make_root):
    long = "a line of the long document\n" * 900_000
    root = make_root({"arxiv": [long, *(f"short {n}" for n in range(50))]})
    dedup(root, method="none")
    options = {"weights": {"arxiv": 2.0}, "val_share": 0.0, "test_share": 0.0, "train_shards": 2}
    build(root, memory="240MiB", **options)
    texts = [json.loads(line)["text"] for name in corpus_names(2)[:2] for line in lines_of(root / "corpus" / name)]
    assert Counter(texts) == {long: 2} | {f"short {n}": 2 for n in range(50)}

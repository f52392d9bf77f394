"""Numbers of cases in, hundreds of faults made for real, `docs/reliability.md` out.

    python -m tests.faults.campaign --kills 300 --disks 100 --flips 500 --workers 60 --fuzz-minutes 60
    python -m tests.faults.campaign --only kill:17      one case again
    python -m tests.faults.campaign --resume ...        an interrupted campaign goes on

Every outcome is a line of the record as soon as it is there; the page is rendered from the record.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.faults import disks, kills, reliability, workers
from tests.faults.bulk import begin_bulk
from tests.faults.flips import flip, flip_and_repair
from tests.faults.ground import copy_root, prepared, scratch
from tests.faults.outcome import demand, judged
from tests.fuzz.run import TARGETS, fuzz, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.ground import Ground
    from tests.faults.outcome import Outcome

# Two cases of so many are three flips and a repair, which runs stages again.
REPAIR_EVERY = 20
FILTERED_FOLDERS = ("components", "plan", "stats")


def flip_case(ground: Ground, seed: int) -> Outcome:
    """A bit of an output of all stages, or some and the repair; in turn of what filters, plan and statistics write."""
    repair = seed % REPAIR_EVERY >= REPAIR_EVERY - 2
    filtered = seed % 2 == 1

    def case() -> str:
        with scratch(ground) as folder:
            if filtered:
                begin_bulk(ground, "told", folder / "root")
            else:
                copy_root(ground.full.root, folder / "root")
            folders = FILTERED_FOLDERS if filtered else ()
            outcome = (flip_and_repair if repair else flip)(folder / "root", seed, folders=folders)
            demand(outcome.problem is None, f"{', '.join(outcome.flipped)}: {outcome.problem}")
            return ", ".join(outcome.flipped)

    name = "repair" if repair else "verify"
    return judged("flip", f"{name}, behind filters" if filtered else name, seed, case)


def fuzz_case(seconds: int, kept: Path) -> Callable[[Ground, int], Outcome]:
    """Seeds are the numbers of the targets; inputs that failed are copied to `kept`."""

    def case(ground: Ground, seed: int) -> Outcome:
        target = TARGETS[seed]

        def run() -> str:
            if reason := why_not():
                pytest.skip(reason)
            with scratch(ground) as folder:
                outcome = fuzz(target, seconds=seconds, seed=seed, folder=folder)
                for crash in outcome.crashes:
                    kept.mkdir(parents=True, exist_ok=True)
                    shutil.copy(crash, kept)
            names = ", ".join(crash.name for crash in outcome.crashes)
            demand(not names, f"{outcome.inputs:,} inputs, of which failed, hung or took too much: {names}")
            new = f"{outcome.corpus_files:,} of them reached something new"
            return f"{outcome.inputs:,} inputs in {outcome.seconds / 60:.0f} minutes, {new}"

        return judged("fuzz", target, seed, run)

    return case


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.splitlines()[0])
    for kind in ("kills", "disks", "workers", "flips"):
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"number of cases of {kind}")
    parser.add_argument("--fuzz-minutes", type=float, default=0, help="shared by the targets")
    parser.add_argument("--side-by-side", type=int, default=2, metavar="N", help="cases at once (default 2)")
    parser.add_argument("--only", action="append", default=[], metavar="KIND:SEED", help="this case, no page")
    parser.add_argument("--resume", action="store_true", help="keep the record, do what is missing in it")
    parser.add_argument("--record", type=Path, default=Path("build/reliability.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    return parser.parse_args(arguments)


def cases_of(options: argparse.Namespace) -> list[tuple[str, int]]:
    """(kind, seed) of the cases asked for, kinds mixed evenly: an interrupted campaign has tried all of them."""
    if options.only:
        return [(text.partition(":")[0], int(text.partition(":")[2])) for text in options.only]
    numbers = {"kill": options.kills, "disk": options.disks, "worker": options.workers, "flip": options.flips}
    spread = [((seed + 0.5) / count, kind, seed) for kind, count in numbers.items() for seed in range(count)]
    # The longest first: everything else runs beside it.
    fuzzed = [("fuzz", seed) for seed in range(len(TARGETS))] if options.fuzz_minutes else []
    return [*fuzzed, *((kind, seed) for _, kind, seed in sorted(spread))]


def run(options: argparse.Namespace) -> list[Outcome]:
    """Runs the cases that the record does not have yet, and returns the outcomes of these."""
    if not (options.resume or options.only):
        options.record.unlink(missing_ok=True)
    # A shell starts what runs in its background deaf to Ctrl-C, and so would be every run that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = set() if options.only else {(one.kind, one.seed) for one in reliability.read(options.record)}
    waiting = [case for case in cases_of(options) if case not in known]
    fuzz_seconds = int(options.fuzz_minutes * 60 / len(TARGETS)) or 60
    table = {
        "kill": kills.kill,
        "disk": disks.fill,
        "worker": workers.lose_worker,
        "flip": flip_case,
        "fuzz": fuzz_case(fuzz_seconds, options.record.parent / "crashes"),
    }
    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory(prefix="pile-campaign-") as folder,
        prepared(Path(folder)) as ground,
        futures.ThreadPoolExecutor(1 if options.only else options.side_by_side) as pool,
    ):
        running = [pool.submit(table[kind], ground, seed) for kind, seed in waiting]
        try:
            for done in futures.as_completed(running):
                outcome = done.result()
                outcome = msgspec.structs.replace(outcome, fact=outcome.fact.replace(folder, "..."))
                outcomes.append(outcome)
                if not options.only:
                    reliability.append(options.record, outcome)
                _say(f"{len(outcomes)} of {len(running)}", outcome)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            print("interrupted: --resume goes on", file=sys.stderr)
    return outcomes


def _say(progress: str, outcome: Outcome) -> None:
    state = "passed" if outcome.passed else "skipped" if outcome.skipped else "FAILED"
    place = f"{outcome.kind}:{outcome.seed} {outcome.stage}"
    print(f"{progress}  {state}  {place}  {outcome.elapsed_s:.1f} s  {outcome.fact}", flush=True)


def _command(options: argparse.Namespace) -> str:
    """What was asked for, without where it was written on this machine."""
    numbers = f"--kills {options.kills} --disks {options.disks} --workers {options.workers} --flips {options.flips}"
    return f"python -m tests.faults.campaign {numbers} --fuzz-minutes {options.fuzz_minutes:g}"


def main() -> None:
    """Exit code 1 where a case failed."""
    options = parse()
    outcomes = run(options)
    if not options.only:
        outcomes = reliability.read(options.record)
        reliability.write_page(options.out, outcomes, _command(options))
        print(f"{options.out}: {len(outcomes)} cases")
    sys.exit(1 if any(not (outcome.passed or outcome.skipped) for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()

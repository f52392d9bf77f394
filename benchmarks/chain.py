"""Seconds and MB/s of text per stage of a whole run, on a folder of components: the baseline that later figures beat.

    python benchmarks/chain.py FOLDER [--jobs N] [--steps N]

Memory is the largest resident size of this process and of any worker, from the operating system's own accounting.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
from pathlib import Path

import pile_toolkit as pile

CONFIG = """
root = "root"
[download]
from = "{source}"
[build]
val_share = 0.02
test_share = 0.02
[train]
recipe = "debug"
steps = {steps}
"""


def main() -> None:
    """Runs the chain once in a scratch folder and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds <slug>.jsonl.zst per component")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "pile.toml"
        config.write_text(CONFIG.format(source=arguments.folder.resolve(), steps=arguments.steps))
        result = pile.run(config, jobs=arguments.jobs)
        text_bytes = sum(row.bytes for row in pile.plan(config).components)
    machine = f"{platform.machine()}, Python {platform.python_version()}, {arguments.jobs} jobs"
    print(f"{machine}, {text_bytes:,} bytes of text\n")
    print("| stage | seconds | MB/s of text | result |\n|---|---:|---:|---|")
    for stage in result.stages:
        speed = "" if stage.stage in ("train", "report") else f"{text_bytes / 1e6 / stage.elapsed_s:.1f}"
        facts = "" if stage.stage == "report" else stage.facts
        print(f"| {stage.stage} | {stage.elapsed_s:.1f} | {speed} | {facts} |")
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"\npeak memory: this process {own / 1024:.0f} MiB, the largest worker {workers / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

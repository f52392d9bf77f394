"""What the README says about the tree is the tree."""

from __future__ import annotations

import re

import pytest

from pile_toolkit.cli.main import COMMANDS
from tests.making import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
PACKAGES = ("pile_toolkit", "pipelines", "tokenizer", "shards", "trainer")


def listed() -> set[str]:
    """Every path in the README's tree."""
    tree = README[README.index("\npile.toml  ") :].split("```")[0]
    paths, folders = set(), {}
    for line in filter(None, tree.splitlines()):
        indent, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders[indent] = name
        paths.add("".join(folders[level] for level in range(indent)) + name)
    return paths


def test_the_readme_lists_every_source_file_and_no_other():
    files = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert {path for path in listed() if path.endswith(".py")} == files
    for path in listed():
        assert (REPOSITORY / path).exists(), path


def test_every_command_the_readme_shows_exists():
    shown = re.findall(r"^pile (\w+)", README, re.MULTILINE)
    assert len(shown) > 8
    assert set(shown) <= COMMANDS.keys()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(p.name for p in (REPOSITORY / "docs").glob("*.md"))]
)
def test_links_inside_the_repository_lead_somewhere(page):
    path = REPOSITORY / page if (REPOSITORY / page).exists() else REPOSITORY / "docs" / page
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target

"""The catalog is the published one, figure by figure, and says honestly what is left of each source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pile_toolkit.core.errors import UsageError
from pipelines.catalog import component, components, named, select

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(reference):
    """The facts by slug, taken from the original builder and the paper."""
    facts = json.loads((reference / "pile_components.json").read_text())
    return {**facts, "components": {entry["slug"]: entry for entry in facts["components"]}}


def test_the_22_stand_in_the_order_of_the_paper(published):
    assert [known.slug for known in components()] == list(published["components"])
    assert len(components()) == 22


def test_every_figure_is_the_published_one(published):
    for known in components():
        entry = published["components"][known.slug]
        paper = entry["paper_table"]
        assert (known.raw_bytes, known.documents) == (entry["raw_size_bytes"], entry["num_docs"])
        assert known.epochs == paper["epochs"] == entry["copies_in_pile_py"]
        assert (known.raw_gib, known.weight) == (paper["raw_size_gib"], paper["weight_percent"])
        assert (known.effective_gib, known.mean_document_kib) == (paper["effective_gib"], paper["mean_document_kib"])
        assert known.mean_document_bytes == round(entry["raw_size_bytes"] / entry["num_docs"])


def test_archives_hashes_and_addresses_are_the_published_ones(published):
    for known in components():
        entry = published["components"][known.slug]
        assert (known.archive, known.sha256) == (entry["archive"], entry["sha256"])
        assert list(known.urls) == [source["url"] for source in entry["historical_sources"]]
        assert known.builder == entry["component_code"]


def test_availability_is_told_as_it_is(published):
    for known in components():
        entry = published["components"][known.slug]["availability"]
        assert known.availability == entry["status"]
        assert bool(known.rebuild_from) == bool(entry["rebuild_from"])
        assert (known.rebuild_from or "").startswith(entry["rebuild_from"].rstrip(")"))
        # OPUS is no dataset of the hub.
        on_hub = [text.split(" ")[0] for text in entry["hugging_face"] if "/" in text.split(" ")[0]]
        assert [hub.name for hub in known.hugging_face] == on_hub
        assert known.status_date == "2026-11-20"


def test_the_names_are_those_of_the_released_pile_and_other_spellings_are_read(published):
    for known in components():
        entry = published["components"][known.slug]
        assert known.name == entry["pile_set_name_in_release"]
        assert named(known.name) == named(entry["name_in_code"]) == known
    assert named("NIH ExPORTER") == named("NIH ExPorter") == component("nih-exporter")
    assert named("Nonsense") is None


def test_the_totals_are_those_of_the_papers_table(published):
    totals = published["totals"]
    mean_kib = totals["raw_size_bytes"] / totals["num_docs"] / 1024
    assert sum(known.raw_bytes for known in components()) == totals["raw_size_bytes"]
    assert sum(known.documents for known in components()) == totals["num_docs"]
    assert totals["table_mean_document_kib"] == pytest.approx(mean_kib, abs=0.005)


def test_the_table_adds_up():
    effective_bytes = sum(known.raw_bytes * known.epochs for known in components())
    assert effective_bytes / 2**30 == pytest.approx(1254.20, abs=0.005)
    # 22 figures rounded to two places.
    assert sum(known.effective_gib for known in components()) == pytest.approx(1254.20, abs=22 * 0.005)
    assert sum(known.weight for known in components()) == pytest.approx(100.0, abs=22 * 0.005)


def test_every_row_agrees_with_itself():
    effective_bytes = sum(known.raw_bytes * known.epochs for known in components())
    for known in components():
        assert known.raw_gib == pytest.approx(known.raw_bytes / 2**30, abs=0.0051)
        assert known.effective_gib == pytest.approx(known.raw_bytes * known.epochs / 2**30, abs=0.0051)
        assert known.weight == pytest.approx(100 * known.raw_bytes * known.epochs / effective_bytes, abs=0.0051)
        assert known.mean_document_kib == pytest.approx(known.mean_document_bytes / 1024, abs=0.0055)


def test_a_component_as_json_has_what_scripts_rely_on():
    rows = json.loads(msgspec.json.encode(components()))
    wanted = {"slug", "name", "raw_bytes", "documents", "epochs", "weight", "mean_document_bytes", "availability"}
    assert all(wanted <= row.keys() for row in rows)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("enron-email", "enron-emails"), ("ArXiv", "arxiv"), ("NIH ExPORTER", "nih-exporter"), ("pile_cc", "pile-cc")],
)
def test_an_unknown_slug_is_refused_with_the_nearest_one(typed, meant):
    with pytest.raises(UsageError, match=f"component '{typed}' is not in the catalog") as error:
        component(typed)
    assert error.value.hint == f"did you mean '{meant}'? `pile components` lists all 22"


def test_a_slug_like_no_other_is_refused_without_a_guess():
    with pytest.raises(UsageError) as error:
        component("qqq")
    assert error.value.hint == "`pile components` lists all 22"


def test_a_selection_stands_in_the_tables_order_each_once():
    assert select("all") == components()
    assert [known.slug for known in select(["arxiv", "pile-cc", "arxiv"])] == ["pile-cc", "arxiv"]
    assert select("github") == (component("github"),)


def test_an_empty_selection_is_refused():
    with pytest.raises(UsageError, match="no component is named"):
        select([])


def test_what_is_left_of_a_withdrawn_component_is_said():
    assert "taken down for copyright" in component("books3").ways_left()
    assert "no way in is known" in component("books3").ways_left()
    assert "hf://monology/pile-uncopyrighted" in component("arxiv").ways_left()
    # A stub that raises an error is no way in.
    assert "defunct-datasets" not in component("openwebtext2").ways_left()


def test_importing_the_catalog_loads_no_heavy_library():
    heavy = "{'torch', 'datasets', 'pyarrow', 'dask', 'numpy', 'httpx2', 'numba'}"
    script = f"import sys; from pipelines.catalog import components; components(); print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"

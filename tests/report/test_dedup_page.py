"""The page about duplicates: its figures are those of the tables and the texts, and every text is shown, not obeyed."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from datasketch import MinHash

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.tables import write_table
from pile_toolkit.report.dedup import dedup_page, matrices, write_dedup_page
from pile_toolkit.report.dedup_charts import charts
from pile_toolkit.report.dedup_pairs import TRIAL_SEED, TRIALS, study_pairs
from pile_toolkit.report.dedup_study import SIMILARITY_BINS, study_dedup
from pipelines.dedup import dedup
from pipelines.keep_list import REASONS, open_clusters, open_keep_list, read_keep_list
from pipelines.lsh.quality import s_curve
from pipelines.minhash import shingle_hashes
from tests.making import write_component
from tests.report.roots import IMAGE, MARK, SCRIPT, SVG
from tests.report.test_render import CSP, Page, dom_of, tags

if TYPE_CHECKING:
    from pathlib import Path

SLUGS = ["pile-cc", "github", "enron-emails", "arxiv"]
HOSTILE = f"{SCRIPT}{SVG}\x1b[31m\u202e"
HOSTILE_FILE = f"{IMAGE}.jsonl.zst"


def corpus(seed: int) -> dict[str, list[str]]:
    """Texts of three components with copies and variants of each other's, and one component of its own."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(2000)]
    texts = [f"{HOSTILE} " + " ".join(chance.choices(words, k=chance.randint(80, 200))) for _ in range(30)]
    for _ in range(60):
        varied = chance.choice(texts).split(" ")
        for _ in range(chance.randint(0, 4)):
            varied[chance.randrange(1, len(varied))] = f"{HOSTILE}{chance.choice(words)}"
        texts.append(" ".join(varied))
    texts += ["", " ", ""]
    chance.shuffle(texts)
    found = {slug: texts[place::3] for place, slug in enumerate(SLUGS[:3])}
    return found | {"arxiv": [" ".join(chance.choices(words, k=50))]}


def make(root: Path, texts: dict[str, list[str]]) -> Path:
    for slug, some in texts.items():
        half = len(some) // 2
        write_component(root, slug, {"00.jsonl.zst": some[:half], HOSTILE_FILE.replace("/", ""): some[half:]})
    return root


@pytest.fixture(scope="module")
def verified(tmp_path_factory) -> Path:
    root = make(tmp_path_factory.mktemp("verified") / f"root {SCRIPT.replace('/', '')}", corpus(1))
    dedup(root, method="minhash", threshold=0.7, verify=True)
    # As a large table is: in many groups of rows.
    for table in (open_keep_list(root), open_clusters(root)):
        header, rows = table.read()
        columns = {name: rows.column(name) for name in table.schema.names}
        write_table(table.path, table.schema, columns, header, group_rows=7)
        assert pq.ParquetFile(table.path).num_row_groups > 2
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    root = make(tmp_path_factory.mktemp("plain") / "root", corpus(2))
    dedup(root, method="minhash", threshold=0.6)
    return root


@pytest.fixture(params=["verified", "plain"])
def root(request) -> Path:
    return request.getfixturevalue(request.param)


def rows_of(root: Path) -> list[dict]:
    components, table = read_keep_list(root)
    rows = table.to_pylist()
    texts = {
        (slug, file.counts.name, document.line): document.text
        for slug in SLUGS
        for file in read_component(root, slug).files
        for document in read_documents(file.path)
    }
    for number, row in enumerate(rows):
        component = components[row["component"]]
        key = component.slug, component.files[row["file"]], row["line"]
        row |= {"row": number, "slug": component.slug, "id": f"{key[0]}/{key[1]}:{key[2]}", "text": texts[key]}
        row["reason"] = REASONS[row["reason"]]
    return rows


def shingles(text: str) -> set[int]:
    return set(shingle_hashes(text).tolist())


def similarity(one: str, other: str) -> float:
    both = shingles(one) | shingles(other)
    return len(shingles(one) & shingles(other)) / len(both) if both else 1.0


def test_shares_are_those_of_the_rows(root):
    rows = rows_of(root)
    shown = Page(dedup_page(study := study_dedup(root), study_pairs(study)))
    assert [row.slug for row in study.components] == list(dict.fromkeys(row["slug"] for row in rows))
    for slug in SLUGS:
        mine = [row for row in rows if row["slug"] == slug]
        exact, near = (
            [row["bytes"] for row in mine if row["reason"] == f"{kind} duplicate"] for kind in ("exact", "near")
        )
        cells = shown.row("Duplicates per component", slug)
        assert (cells["documents"], cells["exact"], cells["near"]) == (f"{len(mine)}", f"{len(exact)}", f"{len(near)}")
        assert (cells["exact, bytes"], cells["near, bytes"]) == (f"{sum(exact):,}", f"{sum(near):,}")
        assert cells["removed"] == f"{100 * (len(exact) + len(near)) / len(mine):.2f}%"
    assert sum(row.exact for row in study.components) > 2
    assert sum(row.near for row in study.components) > 10


def test_matrices_say_who_went_for_whom_and_where_clusters_met(root):
    rows = rows_of(root)
    study = study_dedup(root)
    slugs = [row.slug for row in study.components]
    removed = Counter((row["slug"], rows[row["cluster"]]["slug"]) for row in rows if row["cluster"] != row["row"])
    members: dict[int, list[dict]] = {}
    for row in rows:
        members.setdefault(row["cluster"], []).append(row)
    several = [some for some in members.values() if len(some) > 1]
    met = Counter(
        (one, other) for some in several for one in {r["slug"] for r in some} for other in {r["slug"] for r in some}
    )
    shared = Counter(
        (row["slug"], other)
        for some in several
        for row in some
        for other in {each["slug"] for each in some if each is not row}
    )
    for counted, matrix in ((shared, study.shared), (removed, study.removed_for), (met, study.met)):
        assert {(one, other): int(matrix[a, b]) for a, one in enumerate(slugs) for b, other in enumerate(slugs)} == {
            (one, other): counted[one, other] for one in slugs for other in slugs
        }
    assert len([pair for pair in met if pair[0] != pair[1]]) == 6
    for matrix, counted in zip(matrices(study), (shared, removed, met), strict=True):
        # The component without duplicates has no row.
        assert matrix.slugs == [slug for slug in slugs if slug != "arxiv"]
        for one, cells in matrix.rows:
            assert [cell.number for cell in cells] == [counted[one, other] for other in matrix.slugs]
            assert all((cell.shade > 0) == (cell.number > 0) for cell in cells)


def test_cluster_sizes_and_the_largest_clusters_are_those_of_the_rows(root):
    rows = rows_of(root)
    study = study_dedup(root)
    pairs = study_pairs(study)
    sizes = Counter(row["cluster"] for row in rows)
    assert study.sizes == Counter(size for size in sizes.values() if size > 1)
    expected = sorted(((-size, cluster) for cluster, size in sizes.items() if size > 1))[: len(study.top)]
    assert [(-cluster.documents, cluster.kept_row) for cluster in study.top] == expected
    shown = Page(dedup_page(study, pairs))
    for cluster in study.top:
        mine = [row for row in rows if row["cluster"] == cluster.kept_row]
        assert cluster.components == Counter(row["slug"] for row in mine)
        assert cluster.bytes == sum(row["bytes"] for row in mine)
        assert rows[cluster.kept_row]["id"] in {cells[0] for cells in shown.tables["Largest clusters"]}
        assert pairs.kept[cluster.kept_row][0] == rows[cluster.kept_row]["id"]
    (figure,) = charts(study, pairs)["clusters"]
    texts = Page(str(figure.svg)).texts
    assert f"2 documents: {study.sizes.get(2, 0)} clusters" in texts
    assert f"4 to 7 documents: {sum(study.sizes.get(size, 0) for size in range(4, 8))} clusters" in texts


def test_similarities_are_exact_ones_of_the_texts(root):
    rows = rows_of(root)
    study = study_dedup(root)
    pairs = study_pairs(study)
    near = [row for row in rows if row["reason"] == "near duplicate"]
    exact = {row["row"]: similarity(row["text"], rows[row["cluster"]]["text"]) for row in near}
    # There are fewer than would be drawn.
    assert sorted(pair.removed for pair in study.drawn) == sorted(exact)
    assert pairs.measured == [exact[pair.removed] for pair in study.drawn]
    assert pairs.unread == 0
    if root.parent.name.startswith("verified"):
        measured = [row for row in near if row["similarity"] is not None]
        counted = Counter(min(int(round(row["similarity"], 6) * SIMILARITY_BINS + 1e-9), 49) for row in measured)
        assert {place: count for place, count in enumerate(study.similarities) if count} == counted
        assert study.unmeasured == len(near) - len(measured)
        distance = sorted(abs(row["similarity"] - 0.7) for row in measured)
        found = [abs(rows[pair.removed]["similarity"] - 0.7) for pair in study.nearest]
        assert found == distance[: len(found)]
        assert len(found) > 3
    else:
        assert study.nearest == []
        assert sum(study.similarities) == 0
    for sample in pairs.samples:
        row = next(row for row in rows if row["id"] == sample.removed.name)
        assert sample.kept.name == rows[row["cluster"]]["id"]
        assert sample.similarity == exact[row["row"]]
    assert len({sample.chosen.split()[0] for sample in pairs.samples}) == 3


def identity(value: int) -> int:
    return value


def test_trials_are_those_of_datasketch_with_other_permutations(plain):
    rows = rows_of(plain)
    study = study_dedup(plain)
    count, of = study.parameters["bands"], study.parameters["rows"]
    bands: dict[int, list[list[tuple]]] = {}
    for row in {row for pair in study.drawn for row in pair[:2]}:
        sketch = MinHash(num_perm=TRIALS * count * of, seed=TRIAL_SEED, hashfunc=identity)
        sketch.update_batch(sorted(shingles(rows[row]["text"])))
        values = sketch.hashvalues.tolist()
        cut = [tuple(values[at : at + of]) for at in range(0, len(values), of)]
        bands[row] = [cut[at : at + count] for at in range(0, len(cut), count)]
    found, expected = 0, 0.0
    for pair in study.drawn:
        trials = zip(bands[pair.removed], bands[pair.kept], strict=True)
        found += sum(any(one == other for one, other in zip(*trial, strict=True)) for trial in trials)
        alike = similarity(rows[pair.removed]["text"], rows[pair.kept]["text"])
        expected += s_curve(bands=count, rows=of, similarity=alike)
    points = study_pairs(study).points
    assert sum(point.found for point in points) == found
    assert sum(point.trials for point in points) == TRIALS * len(study.drawn)
    assert sum(point.pairs * point.expected for point in points) == pytest.approx(expected)
    assert [point.similarity for point in points] == sorted(point.similarity for point in points)


def test_the_s_curve_has_the_threshold_and_the_measured_points(plain):
    study = study_dedup(plain)
    pairs = study_pairs(study)
    curve = charts(study, pairs)["similarity"][-1]
    shown = Page(str(curve.svg))
    assert "threshold 0.6" in shown.texts
    assert shown.count("circle") == len(pairs.points) > 1
    given = study.parameters
    for step in (0.2, 0.5, 0.6, 0.9):
        share = s_curve(bands=given["bands"], rows=given["rows"], similarity=step)
        assert f"similarity {step:.2f}: {100 * share:.2f}% found" in shown.texts


def test_texts_and_names_are_shown_and_not_obeyed(verified, tmp_path):
    write_dedup_page(tmp_path / "page.html", verified)
    html = (tmp_path / "page.html").read_text()
    shown = Page(html)
    assert "default-src 'none'" in CSP.findall(html)[0]
    assert shown.count("script") == shown.count("img") == 0
    assert SCRIPT not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "\\u202e" in html
    assert shown.count("ins") > 2
    assert shown.count("del") > 2
    assert any(IMAGE.split("/")[0][:10] in text for text in shown.texts)
    for element, attributes in shown.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "data:,") == "data:,", element
    for rows in shown.tables.values():
        assert len({len(row) for row in rows}) == 1
    dom = dom_of(CSP.sub("", html), tmp_path / "browser")
    assert f"{MARK}=" not in dom.split(">", 2)[1]
    assert tags(dom) == tags(html)


def test_the_same_root_gives_the_same_page(verified, tmp_path):
    for name in ("one", "two"):
        write_dedup_page(tmp_path / name, verified)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_roots_without_near_duplicates_have_a_page(tmp_path):
    texts = {"arxiv": ["one", "one", "two", ""], "github": ["one", "", "three"], "pile-cc": []}
    for method in ("exact", "minhash", "none"):
        root = make(tmp_path / method, texts)
        dedup(root, method=method)
        study = study_dedup(root)
        html = dedup_page(study, study_pairs(study))
        shown = Page(html)
        assert ("Largest clusters" in shown.tables) == (method != "none")
        assert ("There are no near duplicates to show" in html) == (method == "minhash")
        assert ('id="similarity"' in html) == (method == "minhash")
        assert ("No document was removed" in html) == (method == "none")
        if method != "none":
            assert shown.tables["Documents removed"][1:] == [["arxiv", "1", "·"], ["github", "2", "·"]]


def test_texts_that_are_gone_changed_or_too_far_are_said_to_be_missing(plain, tmp_path):
    study = study_dedup(plain)
    none = study_pairs(study, read_limit_bytes=0)
    assert (none.measured, none.samples, none.points) == ([], [], [])
    assert none.unread == len(study.drawn)
    assert "drawn pairs are missing" in dedup_page(study, none)
    limited = study_pairs(study, read_limit_bytes=sum(row.bytes for row in study.components) // 2)
    assert 0 < limited.unread < len(study.drawn)
    changed = make(tmp_path / "root", corpus(2))
    dedup(changed, method="minhash", threshold=0.6)
    kept = read_component(changed, "pile-cc").files
    kept[0].path.unlink()
    kept[1].path.write_bytes(read_component(changed, "github").files[0].path.read_bytes())
    study = study_dedup(changed)
    pairs = study_pairs(study)
    assert 0 < pairs.unread < len(study.drawn)
    assert not any("pile-cc" in sample.kept.slug + sample.removed.slug for sample in pairs.samples)
    assert "could not be read" in dedup_page(study, pairs)


def test_a_root_that_was_not_deduplicated_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no finished deduplication"):
        write_dedup_page(tmp_path / "page.html", make(tmp_path / "root", {"arxiv": ["one"]}))


def test_the_command_writes_the_page_and_says_where(tmp_path, pile):
    root = make(tmp_path / "root", {"github": [*corpus(3)["github"][:20], "one", "one"]})
    page = root / "reports" / "dedup.html"
    for arguments in (("--report",), ("--json", "--report")):
        done = pile("dedup", "--root", root, "--method", "minhash", "--jobs", "1", *arguments)
        assert done.returncode == 0, done.stderr
        assert "Duplicates in root" in page.read_text()
        assert (str(page) in done.stdout) == (arguments == ("--report",))
        assert (str(page) in done.stderr) == ("--json" in arguments)
        page.unlink()

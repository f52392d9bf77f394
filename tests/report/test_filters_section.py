"""What filters did stands in the report's data and on its page, and nothing about them where none were asked for."""

from __future__ import annotations

import json

import pytest

from pile_toolkit.report.render import write_report
from pipelines.download import download


@pytest.fixture
def report(tmp_path, source):
    """(options) -> (data, page) of a root with two components."""

    def make(**options) -> tuple[dict, str]:
        download(tmp_path / "root", components=["github", "enron-emails"], source=str(source), **options)
        write_report(tmp_path / "root")
        reports = tmp_path / "root" / "reports"
        return json.loads((reports / "report.json").read_bytes()), (reports / "index.html").read_text()

    return make


def test_what_filters_did_is_in_the_report(report):
    data, page = report(filters=["length:min_words=60"], mask="email")
    for component in data["download"]["components"]:
        filtered = component["filtered"]
        assert component["documents"] == filtered["read"] - filtered["dropped"].get("length", {}).get(
            "too_few_words", 0
        )
        if places := filtered["changed"].get("mask", {}).get("email"):
            assert f"email in {filtered['changed']['mask']['documents']} documents" in page
            assert f">{places:,}<" in page
    assert "too few words" in page


def test_without_filters_the_report_says_nothing_of_them(report):
    data, page = report()
    assert [component["filtered"] for component in data["download"]["components"]] == [None, None]
    assert "Filters and masks" not in page

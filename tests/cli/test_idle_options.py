"""An option that the rest of the command line leaves without effect is refused, not passed over."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("typed", "name", "what"),
    [
        (["--threshold", "0.5"], "--threshold", "is for the method minhash, and the method is exact"),
        (["--no-nfc"], "--no-nfc", "is for the method minhash, and the method is exact"),
        (["--method", "none", "--verify"], "--verify", "is for the method minhash, and the method is none"),
        (["--against-ngram", "8"], "--against-ngram", "is for evaluation sets, and --against names none"),
    ],
)
def test_an_option_without_effect_is_an_error_that_names_it(pile, tmp_path, typed, name, what):
    done = pile("dedup", *typed, "--root", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {name} {what}\n  try: pile dedup ")
    assert done.stderr.endswith(f", or without {name}\n")


@pytest.mark.parametrize("method", ["exact", "minhash"])
def test_the_same_values_in_a_file_are_defaults_for_when_they_count(pile, tmp_path, method):
    (tmp_path / "pile.toml").write_text(f'[dedup]\nmethod = "{method}"\nthreshold = 0.7\nagainst_ngram = 8\n')
    done = pile("dedup", "--dry-run", "--config", tmp_path / "pile.toml", "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("threshold 0.7" in done.stdout) == (method == "minhash")


def test_a_configuration_is_no_lock_and_is_not_offered_to_be_written_over(pile, tmp_path):
    (tmp_path / "pile.toml").write_text("seed = 1\n")
    done = pile("run", "--locked", tmp_path / "pile.toml")
    assert (done.returncode, "is not a lock file" in done.stderr) == (4, True)
    assert "try: pile lock -o pile.lock writes one; a pile.toml goes without --locked" in done.stderr

"""What a later stage would refuse is refused before the first one runs, and nothing is written."""

from __future__ import annotations

import pytest

from pile_toolkit.chain.config import load_run_config
from pile_toolkit.chain.forecast import plan
from pile_toolkit.chain.run import run
from pile_toolkit.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[download]\ncomponents = ["arxv"]', "did you mean 'arxiv'"),
        ('[download]\nfrom = "nowhere"', "there is no folder"),
        ('[download]\nfrom = { arxiv = "sample:" }', "no source is named for 'pile-cc'"),
        ("[build.weights]\narxiv = 1.0", "weights have no entry for"),
        ('[build]\nweights = "nowhere.toml"', "nowhere.toml"),
        ("[build.weights]\narxvi = 1.0", "weights name 'arxvi', which is no component"),
        ("[build.weights]\narxiv = -1.0\ndefault = 1.0", "the weight of 'arxiv' is -1"),
        ('[build]\nmode = "thepile"', "build.mode"),
        ('[build]\ntotal = "much"', "the total is 'much'"),
        ("[build]\nshare = { arxvi = 0.1 }", "a share names 'arxvi'"),
        ("[build]\nshare = { arxiv = -0.1 }", "the share of 'arxiv' is -0.1"),
        ('[download]\ncomponents = ["github"]\n[build]\nshare = { arxiv = 0.1 }', "a share names 'arxiv'"),
        ("[build]\ntemperature = 0", "the temperature is 0"),
        ("[build]\nmax_epochs = -4", "the maximum of epochs is -4"),
        ("[build]\nval_share = 0.5\ntest_share = 0.5", "below 1 together"),
        ("[build]\nval_share = -0.1", "0 or more"),
        ('[dedup]\nagainst = "sets"\n[build]\nduplicates = "keep"', "searches only what it keeps"),
        ('[build]\nduplicates = "both"', "drop"),
        ('[dedup]\nmethod = "minhash"\nthreshold = 1.5', "between 0 and 1"),
        ('[dedup]\nmethod = "minhash"\nbands = 9', "only one is given"),
        ('[dedup]\npriority = ["arxvi"]', "did you mean 'arxiv'"),
        ('[dedup]\nmemory = "lots"', "expected a size"),
        ('[build]\nmemory = "lots"', "expected a size"),
        ("[tokenizer]\nvocab_size = 100", "need 281"),
        ("[tokenizer]\nmax_space_run = 0", "max_space_run"),
        ('[train]\nrecipe = "debgu"', "did you mean 'debug'"),
        ("[train]\nsteps = 0", "train.steps is 0"),
        ('[train.set]\n"model.layer" = 1', "did you mean 'layers'"),
    ],
)
def test_a_configuration_is_refused_before_anything_runs(tmp_path, text, said):
    (tmp_path / "pile.toml").write_text(text)
    for call in (run, plan):
        with pytest.raises(UsageError, match=said):
            call(tmp_path / "pile.toml")
    assert not (tmp_path / "pile-data").exists()


@pytest.mark.parametrize(
    ("weights", "said", "hint"),
    [("arxvi = 1.0", "'arxvi', which is no component", "'arxiv'"), ("arxiv = -1", "'arxiv' is -1", "arxiv = 1.0")],
)
def test_bad_weights_end_a_run_with_2_before_anything_is_downloaded(pile, tmp_path, weights, said, hint):
    (tmp_path / "weights.toml").write_text(f"default = 1\n{weights}\n")
    (tmp_path / "pile.toml").write_text('[build]\nweights = "weights.toml"\n')
    done = pile("run", "pile.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert hint in done.stderr
    assert not (tmp_path / "pile-data").exists()


def test_components_that_an_earlier_run_left_are_not_mixed_in_unasked(configure, tmp_path):
    config = configure(tmp_path)
    settings = {"train": None, "build.val_share": 0.2, "build.test_share": 0.2, "tokenizer.vocab_size": 400}
    run(config, overrides={**settings, "download.components": ["github", "ubuntu-irc"]}, jobs=1)
    with pytest.raises(UsageError, match="holds github, not among"):
        run(config, overrides={**settings, "download.components": ["ubuntu-irc"]}, jobs=1)


def test_a_word_that_is_none_of_the_choices_is_told_the_choices(tmp_path):
    (tmp_path / "pile.toml").write_text('[dedup]\nmethod = "lsh"\n')
    with pytest.raises(UsageError) as error:
        load_run_config(tmp_path / "pile.toml")
    assert error.value.hint == "one of none, exact, minhash"

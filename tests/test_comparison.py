"""Finished runs beside each other: rows over seeds, their names, numbers and costs."""

import re

import pytest
from finished_cases import leave_artifact, leave_run
from omegaconf import OmegaConf

from nlg_distill.comparing.comparison import column_of, compare, main_metric
from nlg_distill.comparing.notes import notes, warnings
from nlg_distill.config import CONF
from nlg_distill.errors import UserError
from nlg_distill.runs.grouping import compared_runs, grouped


def compared(folder, rows=(), **settings):
    runs, repeated = compared_runs([folder])
    return compare(grouped(runs, rows), repeated=repeated, **settings)


def labels(folder, rows=()):
    return [row.label for row in compared(folder, rows).rows]


def row(comparison, label):
    return next(row for row in comparison.rows if row.label == label)


def cell(comparison, label, metric):
    return comparison.cell(row(comparison, label), column_of(metric))


def leave_sweep(folder):
    """BLEU of baseline: 10, 11, 12; of word_kd: 12, 15, 12, in an order that names do not have."""
    number = 0
    for seed in (1, 2, 3):
        for name, values in (("baseline", [10.0, 11.0, 12.0]), ("word_kd", [12.0, 15.0, 12.0])):
            overrides = [f"experiment={name}", f"seed={seed}"]
            leave_run(folder / str(number), name, seed, values[seed - 1], overrides=overrides)
            number += 5


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path):
    leave_sweep(tmp_path)
    found = compared(tmp_path)
    assert [(row.label, row.seeds) for row in found.rows] == [
        ("baseline", [1, 2, 3]),
        ("word_kd", [1, 2, 3]),
    ]
    base, kd = (cell(found, name, "beam_5/bleu") for name in ("baseline", "word_kd"))
    assert (base.mean, base.deviation) == (pytest.approx(11.0), pytest.approx(1.0))
    assert (kd.mean, kd.deviation) == (pytest.approx(13.0), pytest.approx(3**0.5))  # sqrt(6 / 2)
    assert "Mean ± sample standard deviation over seeds 1, 2, 3." in notes(found)
    assert not warnings(found)


def test_where_a_run_writes_and_logs_does_not_make_a_row(tmp_path):
    leave_run(tmp_path / "0", seed=1)
    for number, key in enumerate(["paths.artifacts", "logger._target_", "trainer.max_time"], 2):
        leave_run(tmp_path / str(number), seed=number, settings={key: "other"})
    assert len(compared(tmp_path).rows) == 1


def test_teachers_are_one_row_over_their_own_seed(tmp_path):
    for seed in (1, 2):
        leave_run(
            tmp_path / f"t{seed}",
            "teacher",
            seed,
            settings={"stage": "teacher", "seed": 1, "teacher_seed": seed},
        )
        leave_run(tmp_path / f"s{seed}", "word_kd", 1, settings={"teacher_seed": seed})
    assert labels(tmp_path) == ["word_kd, teacher_seed=1", "word_kd, teacher_seed=2", "teacher"]


def test_the_same_run_made_twice_counts_once(tmp_path):
    leave_sweep(tmp_path / "now")
    leave_run(tmp_path / "later", "baseline", 1, 10.0, scores="scores/0")
    found = compared(tmp_path)
    assert len(found.runs) == 6
    assert "Runs that were there again, and count once: 1." in notes(found)


# Names of rows.


def leave_grid(folder, *varied, name="word_kd"):
    """A run for each of some overrides, which set the config as they say."""
    for number, overrides in enumerate(varied):
        values = dict(override.split("=") for override in overrides)
        settings = {key: float(value) for key, value in values.items() if "@" not in key}
        leave_run(folder / str(number), name, overrides=overrides, settings=settings)


LR, STEPS = "student_training.optimizer.lr", "student_training.max_steps"


def test_rows_of_one_name_are_called_by_what_varies(tmp_path):
    leave_grid(tmp_path, [f"{LR}=0.1", f"{STEPS}=200"], [f"{LR}=0.2", f"{STEPS}=200"])
    assert labels(tmp_path) == ["lr=0.1", "lr=0.2"]


def test_what_was_given_is_said_though_less_would_tell_rows_apart(tmp_path):
    leave_grid(tmp_path, [f"{LR}=0.1", f"{STEPS}=200"], [f"{LR}=0.2", f"{STEPS}=300"])
    assert labels(tmp_path) == ["lr=0.1, max_steps=200.0", "lr=0.2, max_steps=300.0"]


def test_all_that_tells_rows_apart_is_said(tmp_path):
    leave_grid(
        tmp_path,
        [f"{LR}=0.1", f"{STEPS}=200"],
        [f"{LR}=0.1", f"{STEPS}=300"],
        [f"{LR}=0.2", f"{STEPS}=300"],
    )
    expected = ["lr=0.1, max_steps=200.0", "lr=0.1, max_steps=300.0", "lr=0.2, max_steps=300.0"]
    assert labels(tmp_path) == expected


def test_a_row_without_an_override_is_called_by_its_config(tmp_path):
    leave_grid(tmp_path, [], [f"{LR}=0.2"])
    assert labels(tmp_path) == ["lr=0.001", "lr=0.2"]


def test_names_stay_where_there_are_several(tmp_path):
    leave_grid(tmp_path / "a", [f"{LR}=0.1"], [f"{LR}=0.2"])
    leave_run(tmp_path / "b", "baseline")
    assert labels(tmp_path) == ["word_kd, lr=0.1", "word_kd, lr=0.2", "baseline"]


def test_a_setting_that_was_not_given_tells_rows_apart_too(tmp_path):
    for number, steps in enumerate([100, 200]):
        leave_run(tmp_path / str(number), settings={STEPS: steps})
    assert labels(tmp_path) == ["max_steps=100", "max_steps=200"]


def test_keys_are_as_long_as_they_must_be(tmp_path):
    keys = ["loss.a.weight", "loss.b.weight"]
    leave_grid(
        tmp_path,
        *([f"{keys[0]}={a}", f"{keys[1]}={b}"] for a in (1, 2) for b in (1, 2)),
    )
    assert labels(tmp_path)[1] == "a.weight=1.0, b.weight=2.0"


def test_groups_are_called_by_what_was_chosen(tmp_path):
    for number, size in enumerate(["lstm_96", "lstm_128"]):
        leave_run(
            tmp_path / str(number),
            overrides=[f"model@student_model={size}"],
            settings={"student_model.hidden_size": number, "student_model.embedding_size": number},
        )
    assert labels(tmp_path) == ["model@student_model=lstm_96", "model@student_model=lstm_128"]


def part(group, name, **changes):
    """A config of a group, as a run's resolved config has it."""
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml")) | changes


def test_what_was_not_given_is_called_as_the_config_that_it_is(tmp_path):
    default = {"student_model": part("model", "lstm_256"), "init": part("init", "random")}
    leave_run(tmp_path / "0", settings={**default, STEPS: 100})
    given = ["model@student_model=lstm_32", "init=copy_layers", "loss=[nll,forward_kl]"]
    settings = {
        "student_model": part("model", "lstm_32"),
        "init": part("init", "copy_layers", layers=[0, 2]),
        "loss.forward_kl.weight": 1.0,
        STEPS: 200,
    }
    leave_run(tmp_path / "1", overrides=given, settings=settings)
    assert labels(tmp_path) == [
        "model@student_model=lstm_256, init=random, loss=[nll]",
        ", ".join(given),
    ]


def test_a_choice_inside_a_part_is_told_too(tmp_path):
    key = "optimizer@student_training.optimizer"
    for number, name in enumerate(["adamw", "muon"]):
        leave_run(
            tmp_path / str(number),
            overrides=[f"{key}=muon"] if number else [],
            settings={"student_training.optimizer": part("optimizer", name), STEPS: 100 + number},
        )
    assert labels(tmp_path) == [f"{key}=adamw", f"{key}=muon"]


def test_a_part_has_the_name_of_the_config_that_it_is(tmp_path):
    """Not of one that it is like."""
    for number, (model, width) in enumerate([("lstm_128", 128), ("lstm_128", 200)]):
        leave_run(
            tmp_path / str(number),
            overrides=[] if number else [f"model@student_model={model}"],
            settings={"student_model": part("model", model, hidden_size=width)},
        )
    found = ["model@student_model=lstm_128", "model@student_model=LSTMEncoderDecoder"]
    assert labels(tmp_path) == found


def test_a_corpus_has_the_name_of_its_config_though_it_builds_on_another(tmp_path):
    for number, languages in enumerate([("es", "en"), ("fr", "en")]):
        data = part("data", "tatoeba", defaults=None)
        data["corpus"] |= dict(zip(("source_language", "target_language"), languages, strict=True))
        given = [["data=tatoeba_es_en"], []][number]
        leave_run(tmp_path / str(number), overrides=given, settings={"data": data})
    assert labels(tmp_path) == ["data=tatoeba_es_en", "data=tatoeba_fr_en"]


def test_a_teacher_has_none_of_a_students_choices(tmp_path):
    model = {"student_model": part("model", "lstm_128")}
    leave_run(tmp_path / "0", settings={"stage": "teacher", **model})
    leave_run(tmp_path / "1", overrides=["model@student_model=lstm_128"], settings=model)
    assert labels(tmp_path) == ["run", "model@student_model=lstm_128"]


def test_a_key_that_teachers_have_too_says_whose_it_is(tmp_path):
    for number, steps in enumerate([100, 200]):
        settings = {"teacher_training": {"max_steps": steps}, STEPS: 1000}
        leave_run(tmp_path / str(number), settings=settings)
    assert labels(tmp_path) == ["teacher_training.max_steps=100", "teacher_training.max_steps=200"]


# Rows by keys.


def test_rows_are_grouped_by_a_key(tmp_path):
    for number, (lr, loss) in enumerate([(0.1, "nll"), (0.2, "nll"), (0.1, "kl")]):
        leave_run(
            tmp_path / str(number),
            bleu=10.0 + number,
            overrides=[f"experiment={loss}"],
            settings={LR: lr, "loss": {loss: {"weight": 1.0}}},
        )
    assert labels(tmp_path, [LR]) == ["lr=0.1", "lr=0.2"]
    assert labels(tmp_path, ["loss"]) == ["loss=[nll]", "loss=[kl]"]
    assert labels(tmp_path, ["experiment", LR]) == ["nll, lr=0.1", "nll, lr=0.2", "kl, lr=0.1"]
    by_loss = compared(tmp_path, ["loss"])
    assert cell(by_loss, "loss=[nll]", "beam_5/bleu").mean == pytest.approx(10.5)
    assert f"loss=[nll] is of runs that differ in {LR} (0.1, 0.2)." in warnings(by_loss)


def test_experiment_is_the_name_where_none_was_chosen(tmp_path):
    leave_run(tmp_path / "0", "mine")
    leave_run(tmp_path / "1", "word_kd", overrides=["experiment=word_kd"])
    assert labels(tmp_path, ["experiment"]) == ["mine", "word_kd"]


def test_a_run_without_the_key_has_a_row_too(tmp_path):
    leave_run(tmp_path / "0")
    leave_run(tmp_path / "1", settings={"loss.kl.temperature": 2.0})
    found = compared(tmp_path, ["loss.kl.temperature"])
    assert [row.label for row in found.rows] == ["temperature=-", "temperature=2.0"]


def test_a_key_that_no_run_has_names_near_ones(tmp_path):
    leave_run(tmp_path / "0")
    with pytest.raises(
        UserError, match=rf"no run has a setting 'lr': did you mean {LR} or teacher_"
    ):
        labels(tmp_path, ["lr"])
    with pytest.raises(UserError, match=r"'experiments': did you mean experiment\?"):
        labels(tmp_path, ["experiments"])
    with pytest.raises(UserError, match=r"'mdl@student_training': did you mean"):
        labels(tmp_path, ["mdl@student_training"])
    with pytest.raises(UserError, match=r"'qqqq': see config.yaml of a run"):
        labels(tmp_path, ["qqqq"])


# Columns and marks.


def test_columns_are_those_of_the_task_and_the_costs(tmp_path):
    leave_run(tmp_path / "0", result={"peak_megabytes": 512.0})
    found = compared(tmp_path)
    assert [column.metric for column in found.columns] == [
        "beam_1/bleu",
        "beam_5/bleu",
        "beam_5/chrf",
        "perplexity",
        "parameters",
        "total_training_seconds",
        "peak_megabytes",
    ]
    assert main_metric(found.runs[0]) == "beam_5/bleu"


def test_columns_of_a_task_without_texts_are_likelihoods(tmp_path):
    result = {"beam_1": None, "beam_5": None, "mode_probability": None, "bits_per_byte": 2.0}
    task = {"task.monitor": "val/nll", "task.mode": "min"}
    leave_run(tmp_path / "0", settings=task, result=result)
    found = compared(tmp_path)
    assert [column.head for column in found.columns[:2]] == ["PPL", "bits per byte"]
    assert main_metric(found.runs[0]) == "perplexity"


def test_heads_say_beam_and_test_set():
    assert column_of("beam_5/rouge_l").head == "ROUGE-L K=5"
    assert column_of("further_tests/ui/beam_1/bleu").head == "BLEU K=1 on ui"
    assert column_of("total_training_seconds").head == "s trained"


def test_a_metric_that_is_not_there_names_those_that_are(tmp_path):
    leave_run(tmp_path / "0")
    with pytest.raises(UserError, match=r"'beam_5/ter': there are beam_1/bleu, .*perplexity"):
        compared(tmp_path, metrics=["beam_5/ter"])
    with pytest.raises(UserError, match="no run has a number at 'beam_5/bleu_signature'"):
        compared(tmp_path, metrics=["beam_5/bleu_signature"])


def test_the_best_of_a_column_is_marked_by_its_direction(tmp_path):
    for name, bleu, perplexity in [("a", 10.0, 5.0), ("b", 12.0, 6.0), ("c", 12.04, 7.0)]:
        leave_run(tmp_path / name, name, bleu=bleu, result={"perplexity": perplexity})
    teacher = {"stage": "teacher"}
    leave_run(tmp_path / "t", "teacher", bleu=50.0, settings=teacher, result={"perplexity": 1.0})
    found = compared(tmp_path)

    def marked(metric):
        return [row.label for row in found.rows if cell(found, row.label, metric).is_best]

    assert marked("beam_5/bleu") == ["b", "c"]  # both are written 12.0
    assert marked("perplexity") == ["a"]
    assert marked("parameters") == []  # all the same
    assert marked("mode_probability") == []
    assert "Bold: the best mean of a column, teachers aside." in notes(found)


def test_teachers_alone_compete_and_differ(tmp_path):
    for name, bleu in [("a", 10.0), ("b", 12.5)]:
        leave_run(tmp_path / name, name, bleu=bleu, settings={"stage": "teacher"})
    found = compared(tmp_path, baseline="a")
    assert cell(found, "b", "beam_5/bleu").apart == pytest.approx(2.5)
    assert cell(found, "b", "beam_5/bleu").is_best


def test_what_diverged_is_not_the_best(tmp_path):
    for name, perplexity in [("a", 5.0), ("b", 6.0), ("c", float("nan")), ("d", float("inf"))]:
        leave_run(tmp_path / name, name, result={"perplexity": perplexity})
    found = compared(tmp_path)
    assert [row.label for row in found.rows if cell(found, row.label, "perplexity").is_best] == [
        "a"
    ]


def test_what_picks_the_weights_of_a_task_has_its_direction(tmp_path):
    for name, own in [("a", 3.0), ("b", 2.0)]:
        task = {"task.monitor": "val/own", "task.mode": "min"}
        leave_run(tmp_path / name, name, settings=task, result={"beam_5/own": own})
    found = compared(tmp_path)
    assert cell(found, "b", "beam_5/own").is_best
    assert main_metric(found.runs[0]) == "beam_5/own"


def test_differences_are_of_means_to_the_baseline(tmp_path):
    leave_sweep(tmp_path)
    found = compared(tmp_path, baseline="baseline")
    assert cell(found, "word_kd", "beam_5/bleu").apart == pytest.approx(2.0)
    assert cell(found, "baseline", "beam_5/bleu").apart is None
    heads = [column.metric for column in found.columns if found.has_differences(column)]
    assert heads == ["beam_1/bleu", "beam_5/bleu", "beam_5/chrf", "perplexity"]
    with pytest.raises(UserError, match=r"no row 'base' .* there are baseline; word_kd"):
        compared(tmp_path, baseline="base")


def test_a_run_without_a_number_is_left_out_of_the_mean(tmp_path):
    leave_run(tmp_path / "0", seed=1, result={"peak_megabytes": 500.0})
    leave_run(tmp_path / "1", seed=2)
    leave_run(tmp_path / "2", "other")
    found = compared(tmp_path)
    assert cell(found, "run", "peak_megabytes").values == [500.0]
    assert cell(found, "other", "peak_megabytes") is None


# What cannot be compared.

OTHER = [{"source": "drei", "gold": "three"}]


def test_another_test_set_is_told_and_nothing_is_the_best(tmp_path):
    leave_run(tmp_path / "0", "a", bleu=10.0)
    leave_run(tmp_path / "1", "b", bleu=12.0, texts=OTHER)
    leave_run(tmp_path / "2", "c", bleu=11.0)
    found = compared(tmp_path, baseline="a")
    told = next(w for w in warnings(found) if "The test set differs" in w)
    assert told.startswith("NOT COMPARABLE between rows: BLEU K=1, BLEU K=5, chrF, PPL.")
    assert re.search(r"\w{12} \(a, c\); \w{12} \(b\)\.$", told)
    assert not any(cell(found, name, "beam_5/bleu").is_best for name in "abc")
    assert cell(found, "b", "beam_5/bleu").apart is None
    assert cell(found, "c", "beam_5/bleu").apart == pytest.approx(1.0)


def test_runs_of_other_test_sets_are_never_one_row(tmp_path):
    leave_run(tmp_path / "0", overrides=["data=one"])
    leave_run(tmp_path / "1", overrides=["data=two"], texts=OTHER)
    assert labels(tmp_path, ["experiment"]) == ["run, data=one", "run, data=two"]
    assert labels(tmp_path) == ["data=one", "data=two"]


def test_more_training_text_leaves_the_test_set_as_it_is(tmp_path):
    changed = {"artifacts/corpus": "corpus/c1", "artifacts/tokenizer": "tokenizer/t1"}
    leave_run(tmp_path / "0", overrides=["data.splitting.train=100"])
    leave_run(tmp_path / "1", overrides=["data.splitting.train=200"], bleu=25.0, result=changed)
    found = compared(tmp_path)
    assert cell(found, "train=200", "beam_5/bleu").is_best
    (told,) = warnings(found)
    assert told.startswith("NOT COMPARABLE between rows: PPL. The tokenizer differs:")


@pytest.mark.parametrize(
    ("path", "value", "columns"),
    [
        ("decoding/precision", "bf16-mixed", "BLEU K=5. The scoring precision"),
        ("beam_5/bleu_signature", "tok:char", "BLEU K=5. The signature"),
        ("machine", "aarch64", "words/s K=5, s trained. The machine"),
        ("decoding/threads", 8, "words/s K=5. The decoding threads"),
    ],
)
def test_other_conditions_are_told_with_the_columns_that_they_spoil(tmp_path, path, value, columns):
    leave_run(tmp_path / "0", "a")
    leave_run(tmp_path / "1", "b", result={path: value})
    shown = ["beam_5/bleu", "beam_5/source_words_per_second", "total_training_seconds"]
    assert any(columns in told for told in warnings(compared(tmp_path, metrics=shown)))


def test_other_beam_sizes_are_told(tmp_path):
    leave_run(tmp_path / "0", "a")
    leave_run(tmp_path / "1", "b", result={"beam_5": None})
    found = compared(tmp_path)
    assert "Beam sizes differ: 1, 5 (a); 1 (b)." in warnings(found)
    assert cell(found, "b", "beam_5/bleu") is None


def test_a_seed_that_gave_two_results_is_told(tmp_path):
    leave_run(tmp_path / "0", seed=1)
    leave_run(tmp_path / "1", seed=1, bleu=30.0)
    (told,) = warnings(compared(tmp_path))
    assert told.startswith("run has several runs of seed 1 with other results")


# Costs.


def leave_store(root):
    """A teacher of 400 s in two attempts, its text of 60 s; students of text, teacher, neither."""
    leave_artifact(root, "corpus/c0", 5.0)
    leave_artifact(root, "teacher/t", 100.0, ["corpus/c0"], training_seconds=400.0)
    leave_artifact(root, "teacher_text/x", 60.0, ["corpus/c0", "teacher/t"])
    for seed in (1, 2):
        leave_artifact(root, f"student/seq_kd{seed}", 90.0, ["corpus/c0", "teacher_text/x"])
    leave_artifact(root, "student/word_kd1", 90.0, ["corpus/c0", "teacher/t"])
    leave_artifact(root, "student/baseline1", 90.0, ["corpus/c0"])


def leave_students(folder):
    for name, seed in [("seq_kd", 1), ("seq_kd", 2), ("word_kd", 1), ("baseline", 1)]:
        leave_run(folder / f"{name}{seed}", name, seed)


def test_teachers_count_in_full_for_each_row_and_once_for_all(tmp_path):
    leave_store(tmp_path / "artifacts")
    leave_students(tmp_path)
    found = compared(tmp_path)
    seconds = {row.label: cell(found, row.label, "teacher_seconds").values for row in found.rows}
    assert seconds == {"baseline": [0.0], "seq_kd": [460.0, 460.0], "word_kd": [400.0]}
    assert cell(found, "seq_kd", "seconds_with_teachers").mean == pytest.approx(550.0)
    assert any("those of all rows, each once, took 460 s" in note for note in notes(found))


def test_costs_of_teachers_are_not_known_without_the_store(tmp_path):
    leave_store(tmp_path / "artifacts")
    leave_students(tmp_path)
    (tmp_path / "artifacts" / "teacher" / "t" / "metadata.json").unlink()
    found = compared(tmp_path)
    assert cell(found, "seq_kd", "teacher_seconds") is None
    assert cell(found, "baseline", "teacher_seconds").values == [0.0]
    assert any("not known of seq_kd, word_kd:" in told for told in warnings(found))

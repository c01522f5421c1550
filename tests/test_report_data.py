"""What a report is told: groups, numbers by hand, texts, curves and costs of finished runs."""

import json
import math

import pytest
from report_runs import SIGNATURE, TEXTS, falling, leave_run, leave_sweep

from nlg_distill.errors import UserError
from nlg_distill.html_report import write_report
from nlg_distill.html_report.block import as_block
from nlg_distill.html_report.collect import report_data
from nlg_distill.html_report.learning import evenly, most_points, thinned
from nlg_distill.html_report.scores import columns
from nlg_distill.html_report.texts import sentence_bleu
from nlg_distill.runs.finished import finished_runs


def collect(home, num_texts=200):
    return report_data(finished_runs(home / "runs"), home / "runs", num_texts)


@pytest.fixture
def sweep(tmp_path):
    return leave_sweep(tmp_path)


def test_seeds_of_one_config_are_one_row_with_mean_and_sample_deviation(sweep):
    (corpus,) = collect(sweep)["corpora"]
    groups = {group["label"]: group for group in corpus["groups"]}
    assert list(groups) == ["teacher", "word_kd", "baseline"]
    found = groups["word_kd"]["stats"]["beam_5/bleu"]
    assert found == {"mean": 21.5, "sd": pytest.approx(math.sqrt(4.5)), "n": 2}
    assert groups["teacher"]["stats"]["beam_5/bleu"] == {"mean": 30.0, "sd": None, "n": 1}


def test_other_settings_than_the_seed_make_another_row(sweep):
    leave_run(sweep, "long", seed=3, steps=200, overrides=["student_training.max_steps=200"])
    leave_run(
        sweep, "elsewhere", seed=3, config={"paths": {"runs": "x"}, "logger": {"_target_": "y"}}
    )
    (corpus,) = collect(sweep)["corpora"]
    sizes = {group["label"]: len(group["runs"]) for group in corpus["groups"]}
    assert sorted(sizes.values()) == [1, 1, 2, 3]


def test_what_a_teachers_config_says_of_students_does_not_part_teachers(tmp_path):
    for seed, loss in ((1, ["nll"]), (2, ["nll", "forward_kl"])):
        config = {"teacher_seed": seed, "seed": 7 + seed}
        leave_run(tmp_path, f"t{seed}", name="teacher", seed=seed, loss=loss, config=config)
    (corpus,) = collect(tmp_path)["corpora"]
    assert [len(group["runs"]) for group in corpus["groups"]] == [2]


def test_a_run_that_found_its_scores_in_the_store_counts_once(sweep):
    again = sweep / "runs" / "z_again"
    again.mkdir()
    for name in ("result.json", "config.yaml", "samples.jsonl"):
        (again / name).write_bytes((sweep / "runs" / "kl_1" / name).read_bytes())
    data = collect(sweep)
    assert (len(data["runs"]), data["copies"]) == (5, 1)


def test_numbers_keep_their_path_signature_and_form(sweep):
    data = collect(sweep)
    run = next(run for run in data["runs"] if run["folder"] == "kl_2")
    assert run["scores"]["beam_5/bleu"] == 23.0
    assert run["signatures"] == {"beam_1/bleu": SIGNATURE, "beam_5/bleu": SIGNATURE}
    assert not {"seed", "decoding/threads"} & set(run["scores"])
    (corpus,) = data["corpora"]
    assert (corpus["main"], corpus["beam"]) == ("beam_5/bleu", "beam_5")
    first = corpus["columns"][0]
    assert (first["head"], first["form"], first["better"]) == ("BLEU K=5", ".1f", "max")


def test_columns_are_ordered_and_named_for_readers():
    paths = ["steps", "beam_1/bleu", "further_tests/ui/beam_5/bleu", "perplexity", "beam_5/bleu"]
    paths += ["beam_10/bleu", "best_validation_bleu", "beam_5/source_words_per_second"]
    found = columns(paths, ("beam_5/bleu", "max"), "beam_5")
    assert [column["head"] for column in found] == [
        "BLEU K=5",
        "PPL",
        "BLEU K=1",
        "BLEU K=10",
        "BLEU K=5, ui",
        "steps",
        "source words/s K=5",
        "best validation bleu",
    ]
    assert [c["head"] for c in found if not c["shown"]] == ["steps", "best validation bleu"]


def test_sentence_bleu_by_hand():
    """Of "a b c" against "a b d": 2 of 3 words, 1 of 2 bigrams, 0 of 1 trigrams (smoothed: 1/2)."""
    score, signature = sentence_bleu({"beam_1": {"bleu_signature": SIGNATURE}})
    assert score("a b c", "a b d") == pytest.approx(
        100 * (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3), abs=0.05
    )
    assert score("a b", "a b") == 100.0
    assert "eff:yes|tok:13a" in signature
    score, signature = sentence_bleu(
        {"beam_1": {"bleu_signature": SIGNATURE.replace("13a", "char")}}
    )
    assert score("我们走", "我们") > 0
    assert "tok:char" in signature


def test_texts_are_stored_once_for_each_who_wrote_them(sweep):
    texts = collect(sweep)["corpora"][0]["texts"]
    assert texts["source"] == [source for source, _, _ in TEXTS]
    teacher, *students = texts["writers"]
    assert teacher["texts"] == [written for _, _, written in TEXTS]
    assert teacher["bleu"][0] == 100.0
    assert teacher["teaches"]
    runs = collect(sweep)["runs"]
    assert [runs[i]["stage"] for i in teacher["own"]] == ["teacher"]
    assert len(teacher["taught"]) == len(students) == 4
    assert not any(student["teaches"] for student in students)


def change(run, **changes):
    path = run / "result.json"
    result = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in result.items() if value is not None}))


def test_a_black_box_has_texts_and_scores_and_no_more(sweep):
    run = leave_run(sweep, "box", name="teacher")
    artifacts = {"corpus": "corpus/c0", "teacher_text": "teacher_text/b0"}
    change(run, artifacts=artifacts, parameters=None, megabytes=None, decoding=None)
    rows = [{"source": s, "gold": g, "teacher": f"box {g}"} for s, g, _ in TEXTS]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = collect(sweep)
    (box,) = [w for w in data["corpora"][0]["texts"]["writers"] if "_text/" in w["artifact"]]
    assert box["teaches"]
    assert box["texts"][0] == "box Good morning, Tom."
    assert [data["runs"][i]["folder"] for i in box["own"]] == ["box"]
    assert data["runs"][box["own"][0]]["series"] == {}
    write_report(sweep / "runs")


def test_teachers_that_write_together_are_one_writer(sweep):
    run = leave_run(sweep, "ensemble", seed=7)
    artifacts = json.loads((run / "result.json").read_text())["artifacts"]
    change(run, artifacts={**artifacts, "teacher_2": "teacher/t2"})
    writers = collect(sweep)["corpora"][0]["texts"]["writers"]
    names = [writer["artifact"] for writer in writers if writer["teaches"]]
    assert names == ["teacher/t0 + teacher/t2", "teacher/t0"]


def test_long_texts_are_thinned_evenly_to_their_room(sweep, monkeypatch):
    for path in (sweep / "runs").glob("*/samples.jsonl"):
        rows = path.read_text().splitlines()
        path.write_text("\n".join(rows * 100) + "\n")
    texts = collect(sweep, num_texts=4)["corpora"][0]["texts"]
    assert (texts["total"], texts["chosen"]) == (300, [0, 100, 199, 299])
    assert texts["source"][1] == TEXTS[1][0]
    monkeypatch.setattr("nlg_distill.html_report.collect.TEXT_BYTES", 10_000)
    texts = collect(sweep)["corpora"][0]["texts"]
    assert 10 < len(texts["chosen"]) < 100
    assert len(as_block([texts["source"], *(w["texts"] for w in texts["writers"])])) < 12_000
    assert collect(sweep, num_texts=0)["corpora"][0]["texts"] is None


def test_runs_of_one_corpus_with_other_test_texts_are_refused(sweep):
    leave_run(sweep, "other", texts=[("Hallo.", "Hello.", "Hi.")], written=["Hi."])
    with pytest.raises(UserError, match=r"other.samples\.jsonl has other test texts .*corpus/c0"):
        collect(sweep)


def test_models_without_texts_have_none(tmp_path):
    run = leave_run(tmp_path, "run")
    (run / "samples.jsonl").write_text('{"source": "", "gold": "one"}\n')
    assert collect(tmp_path)["corpora"][0]["texts"] is None


def test_curves_are_kept_by_name_and_step(tmp_path):
    curves = {"train/loss": [(49, 3.123456), (99, math.nan)], "val/bleu": [(99, 7.0)]}
    leave_run(tmp_path, "run", curves=curves)
    (run,) = collect(tmp_path)["runs"]
    steps, series = run["steps"], run["series"]
    assert steps[series["train/loss"][0]] == [49, 99]
    assert series["train/loss"][1] == [3.1235, None]
    assert steps[series["val/bleu"][0]] == [99]
    assert run["terms"] == ["nll", "forward_kl"]


def test_curves_are_thinned_to_their_room_and_counted(tmp_path):
    leave_run(tmp_path, "run", curves=falling(["train/loss"], 500, 1))
    data = collect(tmp_path)
    (steps,) = data["runs"][0]["steps"]
    assert (len(steps), steps[0], steps[-1]) == (200, 49, 49 + 50 * 499)
    assert (data["points"], data["thinned"]) == (200, 1)
    twenty = dict.fromkeys("abcdefghijklmnopqrst")
    assert most_points([twenty] * 100) == 200
    assert most_points([twenty] * 300) == 74


def test_thinned_numbers_are_spread_evenly():
    assert evenly(5, 9) == [0, 1, 2, 3, 4]
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly(9, 1) == [0]
    assert thinned({"a": ([1, 2], [0.0, 1.0]), "b": ([1, 2], [5.0, 6.0])}, 9)["steps"] == [[1, 2]]


def test_settings_that_all_runs_share_are_stored_once(sweep):
    data = collect(sweep)
    assert data["settings"]["data.licence"] == "MIT"
    by_folder = {run["folder"]: run["settings"] for run in data["runs"]}
    assert by_folder["kl_2"]["loss.forward_kl.weight"] == 1.0
    assert "loss.forward_kl.weight" not in by_folder["nll_1"]
    assert not any(key.startswith("paths.") for key in [*data["settings"], *by_folder["kl_2"]])


def test_cost_counts_each_artifact_that_a_run_is_made_from(sweep):
    cost = next(run for run in collect(sweep)["runs"] if run["folder"] == "kl_2")["cost"]
    assert cost["parts"] == {
        "scores/kl_2": 4.0,
        "student/kl_2": 12.0,
        "teacher/t0": 50.0,
        "tokenizer/k0": 3.0,
        "corpus/c0": 2.0,
    }
    assert cost["missing"] == []


def test_a_store_that_is_gone_leaves_a_report_that_says_so(sweep):
    (sweep / "artifacts").rename(sweep / "moved")
    data = collect(sweep)
    assert {run["made"] for run in data["runs"]} == {None}
    assert all(not run["series"] and not run["cost"]["parts"] for run in data["runs"])
    assert "teacher/t0" in data["runs"][0]["cost"]["missing"]
    assert data["corpora"][0]["hygiene"] is None

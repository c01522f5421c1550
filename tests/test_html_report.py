"""What a report holds: numbers by hand, texts that look like markup, sizes; what it refuses."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from report_runs import SIGNATURE, TEXTS, falling, leave_run
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.errors import UserError
from nlg_distill.finished import finished_runs
from nlg_distill.html_report import write_report
from nlg_distill.html_report.block import as_block
from nlg_distill.html_report.collect import report_data
from nlg_distill.html_report.groups import labels
from nlg_distill.html_report.learning import evenly, most_points, thinned
from nlg_distill.html_report.scores import columns
from nlg_distill.html_report.texts import sentence_bleu


class Scripts(HTMLParser):
    """The content of each `<script>` as a browser would cut it, by its type."""

    def __init__(self, page):
        super().__init__()
        self.found, self._type = {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self._type = dict(attrs).get("type", "")

    def handle_data(self, data):
        if self._type is not None:
            self.found.setdefault(self._type, []).append(data)

    def handle_endtag(self, tag):
        self._type = None


def data_of(page):
    (block,) = Scripts(page.read_text(encoding="utf-8")).found["application/json"]
    return json.loads(block)


def collect(home, num_texts=200):
    return report_data(finished_runs(home / "runs"), home / "runs", num_texts)


@pytest.fixture
def sweep(tmp_path):
    """A teacher, and two losses with two seeds each."""
    leave_run(tmp_path, "teacher", name="teacher", bleu=30.0, overrides=["data=hsk"])
    kl = ["loss=[nll,forward_kl]", "loss.forward_kl.weight=0.5"]
    for seed, bleu in ((1, 20.0), (2, 23.0)):
        leave_run(tmp_path, f"kl_{seed}", seed=seed, bleu=bleu, overrides=["data=hsk", *kl])
        leave_run(
            tmp_path,
            f"nll_{seed}",
            name="baseline",
            seed=seed,
            bleu=18.0,
            overrides=["data=hsk"],
            loss=["nll"],
        )
    return tmp_path


def test_seeds_of_one_config_are_one_row_with_mean_and_sample_deviation(sweep):
    (corpus,) = collect(sweep)["corpora"]
    groups = {group["label"]: group for group in corpus["groups"]}
    assert list(groups) == ["teacher", "word_kd loss=[nll,forward_kl]", "baseline"]
    found = groups["word_kd loss=[nll,forward_kl]"]["stats"]["beam_5/bleu"]
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


class Named:
    def __init__(self, name, *overrides):
        self.result = {"name": name, "overrides": [f"experiment={name}", *overrides, "seed=1"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([["data=hsk"], ["data=hsk", "loss=[nll]", "loss.nll.weight=2"]], ["a", "a loss=[nll]"]),
        (
            [["lr=1", "x.y=2"], ["lr=1", "x.y=3"], ["lr=2", "x.y=2"]],
            ["a lr=1 x.y=2", "a lr=1 x.y=3", "a lr=2"],
        ),
        ([["paths.runs=r", "logger=none"], ["logger=csv"]], ["a", "a (2)"]),
    ],
)
def test_a_label_has_what_tells_a_group_from_others(given, expected):
    assert labels(Named("a", *overrides) for overrides in given) == expected


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


def test_a_score_that_is_not_finite_has_no_mean(sweep):
    path = sweep / "runs" / "kl_1" / "result.json"
    result = json.loads(path.read_text())
    result["perplexity"] = math.inf
    path.write_text(json.dumps(result))
    (corpus,) = collect(sweep)["corpora"]
    (group,) = [g for g in corpus["groups"] if g["label"].startswith("word_kd")]
    assert group["stats"]["perplexity"]["mean"] is None
    write_report(sweep / "runs")


def test_a_text_cannot_end_the_data_or_become_markup(tmp_path):
    evil = '</script><script>alert(1)</script><!-- <b>&amp; " \u2028 \ud83d'
    texts = [(evil, "a b", "a b")]
    leave_run(tmp_path, "run", written=[evil], texts=texts)
    page = write_report(tmp_path / "runs", title="</title><b>Runs & more")
    whole = page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in whole
    assert "<title>&lt;/title&gt;&lt;b&gt;Runs &amp; more</title>" in whole
    found = data_of(page)["corpora"][0]["texts"]
    assert found["source"] == [evil]
    assert len(Scripts(whole).found) == 2


def test_a_block_of_numbers_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        as_block([math.nan])


def test_the_page_loads_nothing_and_runs_its_own_script_alone(sweep):
    page = write_report(sweep / "runs").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='; style-src 'sha256-", policy)
    assert "unsafe" not in policy
    assert not re.findall(r"""(?:src|href)=["'](?!data:,|#)[^"']*""", page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


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


def test_a_report_is_replaced_and_no_other_file(sweep):
    runs = sweep / "runs"
    done = CliRunner().invoke(app, ["report", str(runs), "--title", "First"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{runs}/report.html, 0.")
    write_report(runs, title="Second")
    assert data_of(runs / "report.html")["title"] == "Second"
    other = sweep / "notes.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(UserError, match=r"notes\.html is there and is no report"):
        write_report(runs, other)
    with pytest.raises(UserError, match=r"runs is a folder: give --output a file"):
        write_report(runs, runs)
    assert other.read_text() == "<p>mine</p>"


def test_a_hundred_runs_are_within_fifteen_megabytes(tmp_path):
    rows = [
        (f"Quelle {i} " + "wort " * 25, f"gold {i} " + "word " * 25, "x " * 25) for i in range(400)
    ]
    names = [f"train/{name}" for name in "abcdefghijklmnopqrst"]
    for number in range(100):
        leave_run(
            tmp_path,
            f"run_{number}",
            seed=number % 4,
            loss=[f"loss_{number // 4}"],
            texts=rows,
            written=["word " * 26] * 400,
            curves=falling(names, 60, number),
        )
    page = write_report(tmp_path / "runs")
    assert page.stat().st_size < 15e6
    data = data_of(page)
    assert len(data["runs"]) == 100
    assert len(data["corpora"][0]["texts"]["chosen"]) == 200

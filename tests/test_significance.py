"""Rows are tested against their baselines on the texts that their scores keep, seed by seed."""

import json
import shutil
import time

import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest
from test_resampling import corpus
from test_run import settings, write_corpus

from nlg_distill.config import CONF, compose
from nlg_distill.errors import UserError
from nlg_distill.run import run
from nlg_distill.stages.scores import read_texts
from nlg_distill.tables.parts import Run
from nlg_distill.tables.reproduce import _make, _planned, reproduce
from nlg_distill.tables.significance import compare_rows, pairs_of
from nlg_distill.tables.spec import Column, Row, TableSpec
from nlg_distill.text_metrics import bleu, rouge

K1 = Column("Δ", "beam_1/bleu", "+.1f", difference=True)
K5 = Column("Δ", "beam_5/bleu", "+.1f", difference=True)
R_L = Column("Δ", "beam_5/rouge_l", "+.1f", difference=True)
PPL = Column("Δ", "perplexity", "+.1f", difference=True)
REFERENCES, WORSE, BETTER = corpus()


def keep(folder, texts, narrower=None, task=None, references=REFERENCES):
    """An artifact of scores: what it holds of its texts."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"task": task} if task else {}))
    (folder / "result.json").write_text(json.dumps({"beam_1": {}, "beam_5": {}}))
    rows = zip(texts, references, strict=True)
    lines = [{"source": f"{i}", "gold": r, "student": t} for i, (t, r) in enumerate(rows)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if narrower:
        lines = [json.dumps({"beam_1": text}) + "\n" for text in narrower]
        (folder / "other_texts.jsonl").write_text("".join(lines))
    return str(folder)


def spec(*columns, rows=("Base", "KD"), **baselines):
    rows = [Row(row=row, experiment="x", baseline=baselines.get(row)) for row in rows]
    return TableSpec(title="T", baseline="Base", rows=rows, scores=columns)


def student(row, seed, artifact):
    return Run(row, seed, {"stage": "student"}, artifact)


def test_each_seed_is_tested_against_the_baselines_same_seed(tmp_path):
    runs = [
        student("Base", 1, keep(tmp_path / "b1", WORSE)),
        student("Base", 2, keep(tmp_path / "b2", BETTER)),
        student("KD", 2, keep(tmp_path / "k2", BETTER)),
        student("KD", 1, keep(tmp_path / "k1", BETTER)),
    ]
    found = compare_rows(spec(K5, PPL), runs)
    assert set(found) == {("KD", "beam_5/bleu"), ("Base", "beam_5/bleu")}
    base = found["Base", "beam_5/bleu"]
    assert (base.tests, base.is_clear, base.is_clear_throughout) == ([], False, False)
    alone = [compare_rows(spec(K5), [run])["Base", "beam_5/bleu"] for run in runs[:2]]
    assert alone[0].half_interval != alone[1].half_interval
    assert base.half_interval == pytest.approx(sum(test.half_interval for test in alone) / 2)
    second, first = found["KD", "beam_5/bleu"].tests
    assert second.difference == 0
    systems = [("w", WORSE), ("b", BETTER)]
    for test, ours in [("bs", first.p_bootstrap), ("ar", first.p_randomisation)]:
        paired = PairedTest(systems, {"BLEU": BLEU()}, [REFERENCES], test)
        assert ours == pytest.approx(paired()[1]["BLEU"][1].p_value, abs=1e-9)


def test_a_row_is_paired_with_the_only_run_of_its_baseline():
    runs = [student("Teacher", 7, "t"), *(student("More", s, f"m{s}") for s in (1, 2))]
    runs += [student("Base", s, f"b{s}") for s in (1, 2)]
    table = spec(K5, rows=["Teacher", "More", "Base"], More="Teacher")
    found = pairs_of(table, "More", runs)
    assert [(a.artifact, b.artifact) for a, b in found] == [("m1", "t"), ("m2", "t")]
    assert pairs_of(table, "Base", runs) == []
    of_teacher = pairs_of(spec(K5, rows=["Base", "Teacher"]), "Teacher", runs)
    assert [(a.artifact, b.artifact) for a, b in of_teacher] == [("t", "b1"), ("t", "b2")]


def test_greedy_texts_are_tested_where_they_are_kept(tmp_path):
    kept = [
        student("Base", 1, keep(tmp_path / "b", BETTER, narrower=WORSE)),
        student("KD", 1, keep(tmp_path / "k", WORSE, narrower=BETTER)),
    ]
    found = compare_rows(spec(K1, K5), kept)
    k1, k5 = (found["KD", metric].tests[0].difference for metric in ("beam_1/bleu", "beam_5/bleu"))
    expected = bleu(BETTER, REFERENCES, []) - bleu(WORSE, REFERENCES, [])
    assert (k1, k5) == (pytest.approx(expected), pytest.approx(-expected))
    older = [kept[0], student("KD", 1, keep(tmp_path / "old", WORSE))]
    tested = {at for at, test in compare_rows(spec(K1, K5), older).items() if test.tests}
    assert tested == {("KD", "beam_5/bleu")}


def test_a_task_says_what_is_counted(tmp_path):
    task = yaml.safe_load((CONF / "task" / "summarization.yaml").read_text())
    runs = [
        student("Base", 1, keep(tmp_path / "b", WORSE, task=task)),
        student("KD", 1, keep(tmp_path / "k", BETTER, task=task)),
    ]
    found = compare_rows(spec(R_L, K5), runs)
    assert {metric for _, metric in found} == {"beam_5/rouge_l"}, "BLEU is no metric of this task"
    gain = [rouge(texts, REFERENCES, [], variant="rougeL") for texts in (BETTER, WORSE)]
    assert found["KD", "beam_5/rouge_l"].tests[0].difference == pytest.approx(gain[0] - gain[1])


def test_systems_of_different_test_sets_are_not_compared(tmp_path):
    runs = [
        student("Base", 1, keep(tmp_path / "b", WORSE)),
        student("KD", 1, keep(tmp_path / "k", BETTER, references=REFERENCES[::-1])),
    ]
    assert set(compare_rows(spec(K5), runs)) == {("Base", "beam_5/bleu")}


# Real runs.


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:at step .* text has collapsed")
def test_what_a_model_wrote_and_drew_is_kept(home, capsys):
    overrides = [*settings(home, steps=30), "experiment=baseline", "scoring.beam_sizes=[1,3,5]"]
    overrides.append("scoring.draws=true")
    result = run(compose(overrides), overrides, home / "runs" / "kept")
    scores = home / "artifacts" / result["scores"]
    for way in ("beam_1", "beam_3", "beam_5", "drawn"):
        written = read_texts(scores, way)
        score = bleu(written.texts, written.references, written.sources)
        assert score == pytest.approx(result[way]["bleu"])
        assert len(written.sources) == 20
    assert "source_words_per_second" not in result["drawn"]
    assert f"{result['drawn']['chrf']:.1f}" in capsys.readouterr().out
    searched = [read_texts(scores, f"beam_{size}").texts for size in (1, 3, 5)]
    assert read_texts(scores, "drawn").texts not in searched
    assert read_texts(scores, "beam_2") is None
    assert len(set(map(tuple, searched))) > 1


@pytest.mark.slow
def test_nothing_is_drawn_unless_it_is_asked_for(home):
    overrides = [*settings(home, steps=30), "experiment=baseline"]
    result = run(compose(overrides), overrides, home / "runs" / "searched")
    assert "drawn" not in result
    assert read_texts(home / "artifacts" / result["scores"], "drawn") is None


@pytest.mark.slow
def test_a_job_that_fails_stops_no_other_and_no_table_is_written(home, capsys):
    rows = {
        "Short": ["experiment=baseline", "seed=5", "student_training.max_tokens=1"],
        "Fine": ["experiment=seq_inter", "targets=gold", "seed=5", "student_training.max_tokens=1"],
        "Good": ["experiment=baseline", "seed=6"],
    }
    planned = [_planned(name, name, (*settings(home), *own)) for name, own in rows.items()]
    table = TableSpec(
        title="T", baseline="Good", rows=[Row(row=name, experiment="x") for name in rows]
    )
    runs = home / "runs" / "failing"
    with pytest.raises(UserError) as caught:
        _make(table, planned, runs / "first", 1)
    said = str(caught.value).splitlines()
    assert said[0] == "1 failed, and no table was written:"
    assert said[1].startswith("  Short: no training pair has fewer than max_tokens=1 tokens")
    assert said[1].endswith(f"Its log is {runs}/first/short.log")
    assert said[2] == "Not made, because they need what failed: Fine."
    assert "UserError: no training pair" in (runs / "first" / "short.log").read_text()
    assert "Good: BLEU K=1" in capsys.readouterr().out
    again = [run for run in planned if run.row == "Good"]
    assert [run.row for run in _make(table, again, runs / "again", 1)] == ["Good"]
    assert not (runs / "again").exists(), "it was found in the store, and has its folder"


def toy_table(home, monkeypatch):
    """Writes a table where `reproduce` looks, and gives the overrides that it needs."""
    shared = [o for o in settings(home, steps=20) if not o.startswith("paths.")]
    table = {
        "title": "T",
        "baseline": "Base",
        "seeds": [1, 2, 3],
        "cpu": {"differs": "all", "overrides": shared},
        "paper": {"differs": "nothing", "overrides": ["data=wmt14_en_de"]},
        "rows": [
            {"row": "Teacher", "experiment": "teacher"},
            {"row": "Base", "experiment": "baseline"},
            {"row": "KD", "experiment": "word_kd"},
        ],
        "published": [
            {
                "name": "P",
                "source": "S",
                "columns": [{"head": "PPL", "metric": "perplexity", "form": ".1f"}],
                "rows": {"Base": ["10.0 V"], "KD": ["9.0 V"]},
            }
        ],
    }
    (home / "conf" / "table").mkdir(parents=True, exist_ok=True)
    (home / "conf" / "table" / "toy.yaml").write_text(yaml.safe_dump(table))
    monkeypatch.setattr("nlg_distill.tables.reproduce.CONF", home / "conf")
    monkeypatch.chdir(home)
    return [o for o in settings(home) if o.startswith("paths.")]


@pytest.mark.slow
def test_a_table_is_made_at_its_scale_with_tests_and_verdicts(home, monkeypatch):
    paths = toy_table(home, monkeypatch)
    made = reproduce("toy", paths, 1, seeds=2)
    assert made.spec.seeds == [1, 2]
    assert {at: len(test.tests) for at, test in made.tests.items()} == {
        (row, metric): pairs
        for row, pairs in [("Teacher", 2), ("Base", 0), ("KD", 2)]
        for metric in ("beam_1/bleu", "beam_5/bleu")
    }
    text = (home / "tables" / "toy" / "table.md").read_text()
    assert "Not the paper's setting: all" in text
    assert "## PPL beside P" in text
    assert "| shape |" in text
    kd = next(run.metrics for run in made.runs if run.row == "KD")
    assert kd["teacher_seconds"] > 0
    assert kd["peak_megabytes"] > 0
    assert "| s of teachers | peak MB |" in text
    base = text.partition("## Tests: BLEU K=1")[2].partition("| Base | ")[2].splitlines()[0]
    assert base.split(" | ")[1].startswith("± ")
    assert "## Tests: BLEU K=1" in text


@pytest.mark.slow
def test_every_run_of_a_table_has_a_folder_also_one_from_the_store(home, monkeypatch):
    paths = toy_table(home, monkeypatch)

    def folders():
        """Of finished runs, after the table was made again."""
        reproduce("toy", paths, 1, seeds=2)
        return sorted(path.parent.name for path in home.glob("runs/toy/*/*/result.json"))

    expected = ["base_seed_1", "base_seed_2", "kd_seed_1", "kd_seed_2", "teacher"]
    assert folders() == expected
    assert folders() == expected, "nothing was missing"
    shutil.rmtree(home / "runs" / "toy")
    shutil.rmtree(home / "artifacts" / "corpus")
    begin = time.time()
    assert folders() == expected
    artifacts = home.glob("artifacts/*/*/metadata.json")
    assert max(path.stat().st_mtime for path in artifacts) < begin, "and nothing was made again"
    assert not (home / "artifacts" / "corpus").exists()

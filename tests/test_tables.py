"""Tables: means and differences over seeds, claims by their numbers, equal time, three files."""

import csv
import io
import json
import re
import subprocess
from dataclasses import replace

import pytest
from rich.console import Console

from nlg_distill.config import CONF
from nlg_distill.errors import UserError
from nlg_distill.report import show_table
from nlg_distill.tables.claims import Claim
from nlg_distill.tables.origin import command_of, origin_of
from nlg_distill.tables.parts import Run
from nlg_distill.tables.spec import Best, Column, Row, TableSpec, load_spec
from nlg_distill.tables.table import Table


def result(stage, bleu, perplexity=10.0):
    scores = {
        "bleu": bleu,
        "chrf": 30.0,
        "bleu_signature": "sig",
        "chrf_signature": "sig",
        "source_words_per_second": 1234.5,
    }
    return {
        "stage": stage,
        "beam_1": scores,
        "beam_5": scores | {"bleu": bleu + 1},
        "perplexity": perplexity,
        "mode_probability": 0.0123,
        "parameters": 466848,
        "megabytes": 1.9,
        "total_training_seconds": 99.6,
        "steps": 400,
        "decoding": {"sentences": 3, "threads": 1, "batch_tokens": 9, "precision": "32-true"},
        "machine": "a machine",
    }


def table(*claims):
    spec = TableSpec(
        title="Toy",
        baseline="Base",
        rows=[Row(row=name, experiment="x") for name in ("Teacher", "Base", "KD")],
        claims=claims,
    )
    results = {
        "Teacher": result("teacher", 20.0),
        "Base": result("student", 10.0),
        "KD": result("student", 12.5, perplexity=15.0),
    }
    return Table(spec, [Run(row, 1, found, "scores/0") for row, found in results.items()])


def cells_of(finished, row):
    return finished.part.cells(row, finished.columns)


def test_cells_hold_the_numbers_and_the_differences_to_the_baseline():
    cells = cells_of(table(), "KD")
    assert cells[:4] == ["12.5", "+2.5", "13.5", "+2.5"]
    assert cells[4:8] == ["30.0", "15.0", "1.23%", "466,848"]
    assert cells[-1] == "100"


def test_teacher_and_baseline_have_no_difference():
    for row in ("Teacher", "Base"):
        assert [cells_of(table(), row)[i] for i in (1, 3)] == ["", ""]


def test_the_best_student_is_a_student():
    assert table().best_student() == "KD"


def test_the_best_student_is_best_at_five():
    rows = table()
    rows.part.first("Base").metrics["beam_1"]["bleu"] = 99.0
    assert rows.best_student() == "KD"


ALONE = " by the means alone"  # of single runs


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (
            dict(row="best student", minus="Base", at_least=2.5),
            f"holds{ALONE} (KD: 13.5 against 11,",
        ),
        (dict(row="KD", minus="Base", at_least=2.6), f"does not hold{ALONE} (KD: 13.5 against 11,"),
        (dict(row="KD", over="Base", at_least=1.2), f"holds{ALONE}"),
        (dict(row="KD", over="Base", at_least=1.3), f"does not hold{ALONE}"),
        (dict(row="KD", at_least=13.5), f"holds{ALONE} (KD: 13.5, bound 13.5)"),
        (
            dict(row="KD", minus="Base", other_metric="beam_1/bleu", at_least=3.5),
            f"holds{ALONE} (KD: 13.5 against 10, bound 3.5)",
        ),
    ],
)
def test_claims_are_judged_with_their_numbers(claim, verdict):
    note = table(Claim(claim="It helps", metric="beam_5/bleu", **claim)).notes()[0]
    assert note.startswith(f"It helps: {verdict}")


def test_three_files_say_the_same(tmp_path):
    table().write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["row"] for row in rows] == ["Teacher", "Base", "KD"]
    assert set(rows[0]) == {"row", "metrics", "run"}
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["beam_5/bleu"]) for line in lines] == [21.0, 11.0, 13.5]
    text = (tmp_path / "table.md").read_text()
    assert "| KD | 12.5 | +2.5 |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


CLAIM = (
    "title: T\nbaseline: A\nrows: [{row: A, experiment: x}]\n"
    "claims: [{claim: c, row: A, metric: m, at_least: 0.0"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: T\nbaseline: A\nrows: [{row: A}]", "does not describe a table"),
        ("title: T\nbaselin: A\nrows: []", "nothing reads baselin: did you mean baseline?"),
        ("title: [T\nrows: []", "is no YAML: while parsing a flow sequence"),
        ("title: T\nbaseline: A\nrows: [{row: A, experiment: x}]\nclaim: []", "does not describe"),
        ("title: T\nbaseline: B\nrows: [{row: A, experiment: x}]", "does not have: B"),
        (f"{CLAIM}, minus: B}}]", "does not have: B"),
        (f"{CLAIM}, over: B}}]", "does not have: B"),
        (f"{CLAIM}, over: A, minus: A}}]", "give minus or over, not both"),
        (f"{CLAIM}, other_metric: n}}]", "other_metric is of the row in minus or over"),
        (f"{CLAIM}}}]\nseeds: [1, 1]", r"seeds must be .* got \[1, 1\]"),
        (f"{CLAIM}}}]\nseeds: 3", "seeds must be .* got 3"),
        (f"{CLAIM}}}]\nseeds: [one]", "seeds must be a list of whole numbers, got"),
        (f"{CLAIM}}}]\nsamples: -1", "samples must be a whole number, 0 or more, got -1"),
        (f"{CLAIM}}}]\nequal_seconds: 3", "equal_seconds must be true or false, got 3"),
        ("title: T\nbaseline: A\nrows: [{row: A, experiment: x}, {row: A, experiment: y}]", "same"),
        (
            f"{CLAIM}}}]\nscores: [{{head: R, metric: m, form: .1q}}]",
            "form='.1q' formats no number",
        ),
        (f"{CLAIM}}}]\nscores: [{{head: R, metric: m}}]", "does not describe a table"),
        (f"{CLAIM}}}]\nbest: {{metric: m, mode: least}}", "mode must be max or min, got least"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path, text, message):
    (tmp_path / "toy.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_spec(tmp_path / "toy.yaml")


def test_an_unknown_table_names_those_that_there_are(tmp_path):
    (tmp_path / "toy.yaml").write_text("")
    with pytest.raises(UserError, match=r"no table 'demmo'; there are toy"):
        load_spec(tmp_path / "demmo.yaml")


# Scores of other tasks.


def summaries(**changes):
    """BLEU is not there; ROUGE-L of Base is 10, of KD 12, on the further test set half of it."""

    def scores(rouge):
        return {"rouge_l": rouge, "rouge_signature": "made so", "source_words_per_second": 9.0}

    runs = []
    for row, rouge in [("Teacher", 20.0), ("Base", 10.0), ("KD", 12.0)]:
        found = result("teacher" if row == "Teacher" else "student", 0.0, perplexity=30 - rouge)
        found |= {"beam_1": scores(rouge), "beam_5": scores(rouge)}
        found["further_tests"] = {"ui": {"beam_5": scores(rouge / 2), "sentences": 1200}}
        runs.append(Run(row, 1, found, "scores/0"))
    settings = {"scores": COLUMNS, "best": Best(metric="beam_5/rouge_l")} | changes
    rows = [Row(row=run.row, experiment="x") for run in runs]
    return Table(TableSpec(title="Toy", baseline="Base", rows=rows, **settings), runs)


COLUMNS = (
    Column("R-L", "beam_5/rouge_l", ".1f"),
    Column("Δ", "beam_5/rouge_l", "+.1f", difference=True),
    Column("R-L on ui", "further_tests/ui/beam_5/rouge_l", ".2f"),
)


def test_a_table_shows_the_scores_that_it_names_and_the_costs(tmp_path):
    summaries().write(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| | R-L | Δ | R-L on ui | parameters | MB |" in text
    assert "| KD | 12.0 | +2.0 | 6.00 | 466,848 | 1.9 | 9 | 9 | 100 |" in text
    assert "- Scores on 3 test sentences. ROUGE: made so. ui: 1,200 sentences.\n" in text
    header = (tmp_path / "table.csv").read_text().splitlines()[0]
    assert header.startswith("row,beam_5/rouge_l,further_tests/ui/beam_5/rouge_l,parameters,")


@pytest.mark.parametrize(
    ("best", "row"),
    [
        (Best(metric="beam_5/rouge_l"), "KD"),
        (Best(metric="beam_5/rouge_l", mode="min"), "Base"),
        (Best(metric="perplexity", mode="min"), "KD"),
        (Best(metric="perplexity"), "Base"),
    ],
)
def test_the_best_student_is_the_one_of_the_metric_named(best, row):
    assert summaries(best=best).best_student() == row


def test_costs_that_are_known_are_shown():
    runs = seeded_runs({"peak_megabytes": 1234.0, "teacher_seconds": 3600.0})
    text = Table(seeded_spec(), runs).markdown()
    assert "| words/s K=5 | s trained | s of teachers | peak MB |" in text
    kd = next(line for line in text.splitlines() if line.startswith("| KD "))
    assert kd.endswith("| 100 ± 0 | 3,600 | 1,234 ± 0 |")
    assert "Those of teachers are of their trainings" in text
    assert "Peak MB: the most memory" in text


def test_a_table_without_texts_has_no_speed():
    runs = seeded_runs()
    for run in runs:
        del run.metrics["beam_1"], run.metrics["beam_5"]
    columns = (Column("PPL", "perplexity", ".1f"),)
    rows = [Row(row=name, experiment="x") for name in ("Teacher", "Base", "KD")]
    best = Best(metric="perplexity", mode="min")
    spec = TableSpec(title="Toy", baseline="Base", rows=rows, scores=columns, best=best)
    text = Table(spec, runs).markdown()
    assert "| | PPL | parameters | MB | s trained |" in text
    assert "- Scores on 3 test sentences.\n- On a machine. Seconds include" in text


def test_scores_of_a_table_are_read_from_its_file(tmp_path):
    (tmp_path / "toy.yaml").write_text(
        "title: T\nbaseline: A\nrows: [{row: A, experiment: x}]\n"
        "scores: [{head: R, metric: beam_1/rouge_l, form: .1f, difference: true}]\n"
        "best: {metric: perplexity, mode: min}\n"
    )
    spec = load_spec(tmp_path / "toy.yaml")
    assert spec.scores == [Column("R", "beam_1/rouge_l", ".1f", difference=True)]
    assert spec.metrics == ["beam_1/rouge_l", "perplexity"]


@pytest.mark.parametrize("finished", [summaries()])
def test_the_terminal_shows_scores_of_other_tasks(finished, tmp_path, monkeypatch):
    shown = show(finished, tmp_path, monkeypatch)
    assert all(cell in shown for cell in cells_of(finished, "KD"))


def test_first_texts_stand_below_with_what_rows_wrote(tmp_path):
    finished = table()
    runs = []
    for run in finished.runs:
        texts = [f"{run.row}\n\n# {i}" for i in range(4)]
        lines = [
            {"source": f"{i} |", "gold": "Good.", "student": text} for i, text in enumerate(texts)
        ]
        if run.row == "Teacher":  # a black box
            lines = [{**line, "teacher": line.pop("student")} for line in lines]
        (tmp_path / run.row).mkdir()
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / run.row / "samples.jsonl").write_text(text)
        runs.append(replace(run, artifact=str(tmp_path / run.row)))
    spec = replace(finished.spec, samples=3)
    below = Table(spec, runs).markdown().partition("## Samples\n\n")[2].splitlines()
    assert below[-5:] == [
        r"- 2 \|",
        "    - *gold*: Good.",
        r"    - *Teacher*: Teacher \# 2",
        r"    - *Base*: Base \# 2",
        r"    - *KD*: KD \# 2",
    ]
    assert len(below) == 2 + 3 * 5


# Several seeds.


def seeded_runs(changes=None):
    """BLEU at K=1 of Base: 11, 10, 9; of KD: 12, 15, 12; at K=5 one more."""
    bleu = {"Base": [11.0, 10.0, 9.0], "KD": [12.0, 15.0, 12.0]}
    runs = [Run("Teacher", 1, result("teacher", 20.0), "scores/t")]
    for row, values in bleu.items():
        for seed, value in enumerate(values, start=1):
            found = result("student", value) | (changes or {})
            runs.append(Run(row, seed, found, f"scores/{row}{seed}"))
    return runs


def seeded_spec(*claims, equal_seconds=False):
    rows = [Row(row=name, experiment="x") for name in ("Teacher", "Base", "KD")]
    return TableSpec(
        title="Toy",
        baseline="Base",
        rows=rows,
        claims=claims,
        seeds=[1, 2, 3],
        equal_seconds=equal_seconds,
    )


def test_a_cell_of_several_seeds_is_mean_and_sample_deviation():
    seeded = Table(seeded_spec(), seeded_runs())
    assert cells_of(seeded, "KD")[:4] == ["13.0 ± 1.7", "+3.0", "14.0 ± 1.7", "+3.0"]  # sqrt(6 / 2)
    assert cells_of(seeded, "Base")[:4] == ["10.0 ± 1.0", "", "11.0 ± 1.0", ""]  # sqrt(2 / 2)
    assert cells_of(seeded, "Teacher")[:4] == ["20.0", "", "21.0", ""]
    assert cells_of(seeded, "KD")[6:9] == ["1.23% ± 0.00%", "466,848", "1.9"]


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [(-2.0, "holds"), (2.9, "within noise"), (3.1, "within noise"), (9.0, "does not hold")],
)
def test_claims_of_several_seeds_are_judged_by_them(bound, verdict):
    claim = Claim(claim="C", row="KD", metric="beam_5/bleu", minus="Base", at_least=bound)
    claimed, seeds, *_ = Table(seeded_spec(claim), seeded_runs()).notes()
    assert claimed.startswith(f"C: {verdict} (KD: 14 against 11,")
    assert "over 3 seeds (1, 2, 3)" in seeds


def test_the_best_student_is_best_on_average():
    lucky = [Run("Base", 4, result("student", 16.0), "scores/Base4")]
    assert Table(seeded_spec(), seeded_runs() + lucky).best_student() == "KD"


def test_a_row_that_diverged_says_so_and_is_not_the_best():
    lost = [Run("Lost", seed, result("student", float("nan")), f"scores/{seed}") for seed in (1, 2)]
    spec = seeded_spec(Claim(claim="C", row="best student", metric="beam_5/bleu", at_least=1.0))
    seeded = Table(spec, seeded_runs() + lost)
    assert cells_of(seeded, "Lost")[0] == "nan ± nan"
    assert seeded.best_student() == "KD"
    assert seeded.notes()[0].startswith("C: holds (KD: ")
    nobody = Table(spec, [*seeded_runs()[:1], *lost])
    assert nobody.best_student() is None
    assert nobody.notes()[0] == "C: no student has a beam_5/bleu that is a number."


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 0.0])
def test_a_claim_about_a_row_that_diverged_cannot_be_judged(number):
    claims = [
        Claim(claim="C", row="Base", metric="perplexity", minus="KD", at_least=0.0),
        Claim(claim="C", row="KD", metric="perplexity", over="Base", at_least=1.0),
    ]
    seeded = Table(seeded_spec(*claims), seeded_runs())
    for run in seeded.runs:
        run.metrics["perplexity"] = number if run.row == "Base" else 12.0
    expected = ["C: cannot be judged"] * 2 if number else ["C: does not hold", "C: holds"]
    notes = seeded.notes()[:2]
    assert [note.split(" (")[0] for note in notes] == expected


def test_files_of_several_seeds_have_a_line_per_run(tmp_path):
    Table(seeded_spec(), seeded_runs()).write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(r["row"], r["seed"], r["run"]) for r in rows[3:5]] == [
        ("Base", 3, "scores/Base3"),
        ("KD", 1, "scores/KD1"),
    ]
    assert set(rows[0]) == {"row", "metrics", "run", "seed"}
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert len(lines) == 7
    assert list(lines[0])[:3] == ["row", "seed", "beam_1/bleu"]
    assert (lines[5]["row"], lines[5]["seed"], lines[5]["beam_1/bleu"]) == ("KD", "2", "15.0")


def test_one_seed_leaves_no_trace(tmp_path):
    table().write(tmp_path)
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == (
        "row,beam_1/bleu,beam_5/bleu,beam_5/chrf,perplexity,mode_probability,parameters,megabytes,"
        "beam_1/source_words_per_second,beam_5/source_words_per_second,total_training_seconds,run"
    )
    assert lines[1] == "Teacher,20.0,21.0,30.0,10.0,0.0123,466848,1.9,1234.5,1234.5,99.6,scores/0"
    assert (tmp_path / "table.md").read_text() == (
        "# Toy\n\n"
        "| | BLEU K=1 | Δ | BLEU K=5 | Δ | chrF | PPL | p(ŷ) | parameters | MB | words/s K=1 | "
        "words/s K=5 | s trained |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        "| Teacher | 20.0 |  | 21.0 |  | 30.0 | 10.0 | 1.23% | 466,848 | 1.9 | 1,234 | 1,234 | 100 "
        "|\n"
        "| Base | 10.0 |  | 11.0 |  | 30.0 | 10.0 | 1.23% | 466,848 | 1.9 | 1,234 | 1,234 | 100 |\n"
        "| KD | 12.5 | +2.5 | 13.5 | +2.5 | 30.0 | 15.0 | 1.23% | 466,848 | 1.9 | 1,234 | 1,234 | "
        "100 |\n\n"
        "- Scores on 3 test sentences. BLEU: sig; chrF (K=5): sig.\n"
        "- Words/s: source words, 1 thread(s), batches of 9 tokens, 32-true, on a machine; other "
        "rows may have trained beside it. Seconds include the training that a row starts from.\n"
    )


# Equal training time.


def equal_time_table():
    runs = seeded_runs({"total_training_seconds": 30.0})
    again = [run for run in seeded_runs({"steps": 200}) if run.row != "Teacher"]
    return Table(seeded_spec(equal_seconds=True), runs, again)


def test_the_part_at_equal_time_is_below_the_table():
    above, below = equal_time_table().markdown().split("## At equal training time\n")
    assert "| Teacher | 20.0 |" in above
    assert "| | BLEU K=1 | BLEU K=5 | PPL | steps | seconds |" in below
    row = "| KD | 13.0 ± 1.7 | 14.0 ± 1.7 | 10.0 ± 0.0 | 200 | 100 ± 0 |"
    assert row in below
    assert "Teacher" not in below
    assert "about the 30 s of Base" in below


def test_files_say_what_is_equal(tmp_path):
    equal_time_table().write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["equal"] for row in rows] == ["steps"] * 7 + ["seconds"] * 6
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [line["equal"] for line in lines] == [row["equal"] for row in rows]
    assert list(lines[0])[:3] == ["row", "seed", "equal"]
    assert (lines[6]["steps"], lines[-1]["steps"]) == ("400", "200")


def show(finished, tmp_path, monkeypatch):
    """What the terminal shows in 80 columns."""
    screen = Console(width=80, file=io.StringIO())
    monkeypatch.setattr("nlg_distill.report.console", screen)
    monkeypatch.setattr("nlg_distill.report._show_use", lambda *args: None)
    show_table(finished, tmp_path)
    return screen.file.getvalue()


@pytest.mark.parametrize("finished", [table(), equal_time_table()], ids=["one seed", "all"])
def test_the_terminal_shows_every_number(finished, tmp_path, monkeypatch):
    shown = show(finished, tmp_path, monkeypatch)
    for cell in cells_of(finished, "KD"):
        assert cell in shown
    assert ("At equal training time" in shown) == finished.spec.equal_seconds
    if finished.spec.equal_seconds:
        for cell in finished.equal_time.cells("KD", finished.equal_time_columns):
            assert cell in shown


# What a table was made with.


def stored(root, name, parents=(), **facts):
    """The metadata of an artifact, as the store leaves it."""
    folder = root / name
    folder.mkdir(parents=True)
    known = {
        "made": "2026-11-27T20:00:00+00:00",
        "seconds": 10.0,
        "packages": {"torch": "2.13.0", "sacrebleu": "2.6.0"},
        "python": "3.11.9",
        "git_commit": "0" * 40,
        "machine": "x86_64, 2 cores, Linux",
        "parents": {parent.split("/")[0]: parent for parent in parents},
    }
    (folder / "metadata.json").write_text(json.dumps({**known, **facts}))
    return str(folder)


def test_the_origin_counts_what_rows_share_once(tmp_path):
    stored(tmp_path, "corpus/c", made="2026-11-27T19:00:00+00:00", seconds=3.0)
    stored(tmp_path, "student/a", ["corpus/c"], seconds=200.0)
    (tmp_path / "student/a/training.json").write_text('{"training_seconds": 1000.0}')  # killed once
    stored(tmp_path, "student/b", ["corpus/c"], seconds=50.0, machine="aarch64, 8 cores, Linux")
    scores = [
        stored(
            tmp_path,
            f"scores/{key}",
            [f"student/{key}", "corpus/c", "tokenizer/gone"],
            git_commit=key * 40,
        )
        for key in "ab"
    ]
    table = Table(seeded_spec(), seeded_runs(), origin=origin_of("nlg-distill reproduce x", scores))
    told = table.markdown().partition("## How it was made\n\n")[2]
    assert told.startswith("    nlg-distill reproduce x\n")
    assert "between 2026-11-27T19:00:00 and 2026-11-27T20:00:00 UTC" in told
    assert "1,073 s of work, each of 5 artifacts once" in told  # 3 + 1000 + 50 + 2 * 10
    assert "student 1,050" in told
    assert "Of 1 more, removed since, nothing is known." in told
    assert "Python 3.11.9, torch 2.13.0, sacrebleu 2.6.0." in told
    assert all(commit * 40 in told for commit in "0ab")
    assert "Machine: " in told
    assert "aarch64, 8 cores, Linux" in told


def test_the_command_is_the_one_that_makes_the_table_again():
    assert command_of("x", [], scale=None, seeds=None) == "nlg-distill reproduce x"
    assert command_of("x", ["loss=[nll, taid]"], scale="paper", seeds=2) == (
        "nlg-distill reproduce x --scale paper --seeds 2 'loss=[nll, taid]'"
    )


def committed(path):
    """A file of the last commit, whatever stands in its place now."""
    command = ["git", "show", f"HEAD:{path}"]
    done = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, check=True)
    return done.stdout


def committed_tables():
    command = ["git", "ls-tree", "-r", "--name-only", "HEAD", "tables"]
    done = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, check=False)
    return sorted({name.split("/")[1] for name in done.stdout.splitlines()})


@pytest.mark.skipif(not (CONF.parent / ".git").exists(), reason="no git repository")
def test_committed_tables_have_the_rows_and_seeds_of_their_configs():
    names = committed_tables()
    assert names
    for name in names:
        spec = load_spec(CONF / "table" / f"{name}.yaml")
        runs = json.loads(committed(f"tables/{name}/table.json"))
        assert list(dict.fromkeys(run["row"] for run in runs)) == [row.row for row in spec.rows]
        if len(spec.seeds) > 1:
            seeds = {run["seed"] for run in runs if run["metrics"]["stage"] == "student"}
            assert seeds == {*spec.seeds}
        assert {run["metrics"]["git_commit"][40:] for run in runs} == {""}  # no changed code
        made = f"    nlg-distill reproduce {name}( logger=none)?\n"
        assert re.search(made, committed(f"tables/{name}/table.md"))  # and no other override

"""Real offline runs of W&B, read back from what `wandb sync` would send."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_run import settings, start, train, write_corpus
from wandb_records import offline_runs

from nlg_distill.config import compose
from nlg_distill.curves import read_curves
from nlg_distill.stages.plan import plan
from nlg_distill.store import Store, metadata
from nlg_distill.tables.parts import Run
from nlg_distill.tables.reproduce import reproduce
from nlg_distill.tables.spec import Row, TableSpec
from nlg_distill.tables.table import Table
from nlg_distill.tracking.wandb_table import log_table

pytestmark = pytest.mark.slow

VARIABLES = ("CACHE", "CONFIG", "DATA")


@pytest.fixture(scope="module", autouse=True)
def _logged_out(tmp_path_factory):
    """W&B without a user, that keeps nothing outside of the tests' folder."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("API_KEY", "MODE", "PROJECT", "RUN_GROUP", "RUN_ID"):
            patch.delenv(f"WANDB_{name}", raising=False)
        for name in VARIABLES:
            patch.setenv(f"WANDB_{name}_DIR", str(folder / name))
        patch.setenv("NETRC", str(folder / "none"))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    return folder


def overrides(home, *more):
    return [o for o in settings(home, steps=3) if o != "logger=csv"] + [*more]


@pytest.fixture(scope="module")
def chosen(home):
    return overrides(home, "experiment=seq_kd_word_kd", "seed=3")


@pytest.fixture(scope="module")
def first(home, chosen):
    """The runs of a student for whom everything was made: by stage."""
    folder = home / "runs" / "first"
    train(chosen, folder)
    runs = offline_runs(folder)
    assert [run.stage for run in runs] == ORDER
    return {run.stage: run for run in runs}


ORDER = ["corpus", "tokenizer", "teacher", "teacher_text", "student", "scores"]


@pytest.fixture(scope="module")
def stages(chosen):
    return {s.name: s for s in plan(compose(chosen), chosen).scores.ancestry()}


def folder_of(home, stage):
    return home / "artifacts" / stage.name / stage.key


def test_each_stage_is_a_run_of_its_job_type_in_the_group_of_the_experiment(first):
    for stage, run in first.items():
        assert (run.run.run_group, run.run.project) == ("seq_kd_word_kd", "nlg-distill")
        assert run.config["artifact"].startswith(f"{stage}/")
        assert run.of("exit")[-1].exit_code == 0
    titles = {stage: run.run.display_name for stage, run in first.items()}
    assert titles == {
        "corpus": "corpus",
        "tokenizer": "tokenizer",
        "teacher": "teacher, seed 1",
        "teacher_text": "teacher text",
        "student": "seq_kd_word_kd, seed 3",
        "scores": "seq_kd_word_kd, seed 3: scores",
    }
    tags = {stage: list(run.run.tags) for stage, run in first.items()}
    assert tags["student"] == tags["scores"] == ["seq_kd_word_kd", "seed 3"]
    assert tags["teacher"] == ["seed 1"]
    assert tags["corpus"] == []


def test_the_config_is_that_of_the_run(first, chosen):
    expected = OmegaConf.to_container(compose(chosen), resolve=True)
    got = first["student"].config
    assert {key: got[key] for key in expected} == expected


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_curves_are_those_beside_the_model_over_the_step(first, home, stages, stage):
    lines = read_curves(folder_of(home, stages[stage]))
    assert {line["step"] for line in lines} == {0, 1, 2}
    assert first[stage].curves == lines
    assert first[stage].axes == {"train/*": "step", "val/*": "step"}
    terms = {"train/nll", "train/forward_kl", "train/gradient_share/nll"}
    assert (terms < set().union(*lines)) == (stage == "student")


def test_numbers_are_in_the_summary(first, home):
    result = json.loads((home / "runs" / "first" / "result.json").read_text())
    for stage in ("student", "scores"):
        summary = first[stage].summary
        assert summary["beam_5/bleu"] == result["beam_5"]["bleu"]
        assert summary["perplexity"] == result["perplexity"]
        assert summary["steps"] == 3
    assert first["student"].summary["seed"] == 3
    assert first["teacher"].summary["steps"] == 3
    assert "perplexity" not in first["teacher"].summary


def test_samples_are_a_table(first, home):
    lines = (home / "runs" / "first" / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for stage in ("student", "scores"):
        table = first[stage].table("samples")
        assert table["columns"] == ["source", "gold", "teacher", "student"]
        assert table["data"] == [list(row.values()) for row in rows]


def lineage(run):
    return set(run.used), set(run.made)


def named(*stages):
    return {f"{stage.name}-{stage.key}" for stage in stages}


def test_artifacts_know_what_they_were_made_from(first, stages):
    for name, stage in stages.items():
        assert lineage(first[name]) == (named(*stage.ancestry()) - named(stage), named(stage))
        assert first[name].made[f"{stage.name}-{stage.key}"].type == name


def test_an_artifact_is_its_facts_and_says_where_the_rest_lies(first, home, stages):
    folder = folder_of(home, stages["student"])
    (artifact,) = first["student"].made.values()
    entries = {entry.path: entry for entry in artifact.manifest.contents}
    assert set(entries) == {path.name for path in folder.iterdir()}
    facts = {"config.yaml", "curves.jsonl", "init.json", "metadata.json", "training.json"}
    for name, entry in entries.items():
        if entry.local_path:
            assert Path(entry.local_path).read_bytes() == (folder / name).read_bytes()
        else:
            assert entry.ref == (folder / name).as_uri()
    uploaded = {name for name, entry in entries.items() if entry.local_path}
    assert facts <= uploaded
    assert "model.safetensors" not in uploaded
    known = json.loads(artifact.metadata)
    assert known["parents"] == metadata(folder)["parents"]
    assert "checksums" not in known


def test_no_text_but_the_samples_is_uploaded(first):
    uploaded = {
        entry.path
        for run in first.values()
        for artifact in (*run.made.values(), *run.used.values())
        for entry in artifact.manifest.contents
        if entry.local_path
    }
    assert not {name for name in uploaded if Path(name).suffix not in (".json", ".yaml")} - {
        "curves.jsonl"
    }


def test_what_was_found_in_the_store_is_part_of_the_lineage(first, home, stages):
    folder = home / "runs" / "second"
    train(overrides(home, "experiment=seq_kd", "seed=4"), folder)
    student, scores = offline_runs(folder)
    assert [student.stage, scores.stage] == ["student", "scores"]
    found = [stages[name] for name in ("corpus", "tokenizer", "teacher", "teacher_text")]
    assert set(student.used) == named(*found)
    for stage in found:  # the same content is the same version, whoever tells of it
        (name,) = named(stage)
        assert student.used[name].digest == first[stage.name].made[name].digest
    (made,) = student.made
    assert made in scores.used


def test_a_run_that_finds_all_starts_nothing(first, home, chosen):
    train(chosen, home / "runs" / "again")
    assert offline_runs(home / "runs" / "again") == []


def test_settings_have_their_effect(first, home):
    folder = home / "runs" / "settings"
    chosen = ["logger.group=mine", "logger.upload_models=true", "logger.project=p", "seed=5"]
    train(overrides(home, "experiment=baseline", *chosen), folder)
    student = offline_runs(folder)[0]
    assert (student.run.run_group, student.run.project) == ("mine", "p")
    entries = {e.path: e for a in student.made.values() for e in a.manifest.contents}
    assert all(entry.local_path for entry in entries.values())
    assert "model.safetensors" in entries
    (corpus,) = [a for name, a in student.used.items() if name.startswith("corpus")]
    assert any(entry.ref for entry in corpus.manifest.contents), "a corpus is no model"


def test_the_run_of_an_agent_is_that_of_the_student_alone(first, home, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "ofagent1")
    chosen = overrides(home, f"paths.runs={tmp_path}", "experiment=baseline", "seed=6")
    assert start(chosen, tmp_path).wait() == 0, (tmp_path / "log").read_text()
    ids = {run.stage: run.run.run_id for run in offline_runs(tmp_path)}
    assert set(ids) == {"student", "scores"}
    assert ids["student"] == "ofagent1" != ids["scores"]


def test_sync_finds_every_run(first, home):
    folders = sorted({run.folder.parent for run in first.values()})
    assert folders == [home / "runs" / "first" / "wandb"]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"Would sync {len(ORDER)} run(s)" in done.stdout + done.stderr


# A table.


@pytest.fixture(scope="module")
def tabled(first, home, chosen, stages):
    """The run of a table whose one row is the student, and where it was told from."""
    scores = folder_of(home, stages["scores"])
    metrics = {"stage": "student", **json.loads((scores / "result.json").read_text())}
    spec = TableSpec(title="T", rows=[Row(row="Base", experiment="baseline")], baseline="Base")
    table = Table(spec, [Run("Base", 3, {"machine": "here", **metrics}, str(scores))])
    folder = home / "runs" / "toy" / "today"
    log_table(table, "toy", compose(chosen), folder)
    (run,) = offline_runs(folder)
    return table, run


def test_a_table_is_a_run_beside_those_of_its_rows(tabled, stages):
    table, run = tabled
    assert (run.stage, run.run.run_group, run.run.display_name) == ("table", "toy", "table toy")
    assert run.run.notes == table.markdown()
    assert run.config["title"] == "T"
    assert lineage(run) == (named(stages["scores"]), {"table-toy"})


def test_the_cells_of_a_table_are_a_table(tabled):
    table, run = tabled
    got = run.table("table")
    assert got["columns"][:5] == ["row", "BLEU K=1", "BLEU K=1 Δ", "BLEU K=5", "BLEU K=5 Δ"]
    assert got["data"] == [["Base", *table.part.cells("Base", table.columns)]]


def test_the_runs_of_a_table_are_a_table_of_numbers(tabled):
    table, run = tabled
    got = run.table("runs")
    row = dict(zip(got["columns"], got["data"][0], strict=True))
    assert row["row"] == "Base"
    assert row["beam_5/bleu"] == table.runs[0].metrics["beam_5"]["bleu"]


def test_another_logger_is_told_nothing_of_a_table(tabled, home, chosen):
    table, _ = tabled
    log_table(table, "toy", compose([*chosen, "logger=none"]), home / "runs" / "silent")
    assert not (home / "runs" / "silent").exists()


def test_the_runs_of_a_sweep_are_a_group(home, tmp_path):
    chosen = overrides(home, f"paths.runs={tmp_path}", "experiment=baseline,word_kd", "-m")
    assert start(chosen, tmp_path).wait() == 0, (tmp_path / "log").read_text()
    runs = [run for run in offline_runs(tmp_path) if run.stage == "student"]
    assert {tuple(run.run.tags) for run in runs} == {("baseline", "seed 1"), ("word_kd", "seed 1")}
    (time,) = {path.parents[1].name for path in tmp_path.rglob("result.json")}
    assert {run.run.run_group for run in runs} == {f"sweep {time}"}


def test_a_reproduced_table_is_a_group_of_whole_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    table = reproduce("smoke", overrides(tmp_path), jobs=1)
    *rows, last = offline_runs(tmp_path)
    assert {run.run.run_group for run in (*rows, last)} == {"smoke"}
    store = Store(tmp_path / "artifacts")
    told = sorted(run.config["artifact"] for run in rows)
    assert told == sorted(f"{path.parent.name}/{path.name}" for path in store.entries())
    assert last.stage == "table"
    scores = {f"scores-{Path(run.artifact).name}" for run in table.runs}
    assert lineage(last) == (scores, {"table-smoke"})
    assert len(scores) == 7

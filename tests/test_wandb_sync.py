"""What `wandb sync` sends of offline runs is all that they hold."""

import base64
import json
import os
import subprocess
import sys

import pytest
from test_run import settings, train, write_corpus
from wandb_records import offline_runs
from wandb_server import wandb_server

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The offline runs of a student and of all that it needs."""
    for name in ("API_KEY", "MODE", "PROJECT", "RUN_GROUP"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    write_corpus(tmp_path)
    chosen = [o for o in settings(tmp_path, steps=2) if o != "logger=csv"]
    train([*chosen, "experiment=seq_kd"], tmp_path / "runs" / "run")
    return offline_runs(tmp_path / "runs")


def sync(runs):
    """What a server is sent."""
    (folder,) = {run.folder.parent for run in runs}
    with wandb_server() as (address, sent):
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(folder)],
            env=os.environ | {"WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("offline-run-*/*.synced"))) == len(runs)
    return sent


def history(sent, run):
    """The rows that were sent of a run, without what W&B adds."""
    lines = [
        line
        for name, what in sent
        if name == "file_stream" and what[0] == run.run.run_id
        for line in what[1].get("files", {}).get("wandb-history.jsonl", {}).get("content", ())
    ]
    return [{k: v for k, v in json.loads(line).items() if k[0] != "_"} for line in lines]


def artifacts(sent, run):
    """The names of artifacts that a run was said to use, and to have made."""
    mine = {"used": set(), "made": set()}
    for name, variables in sent:
        given = variables["input"] if name in ("CreateArtifact", "UseArtifact") else {}
        if given.get("runName") == run.run.run_id:
            if name == "CreateArtifact":
                mine["made"].add(given["artifactCollectionName"])
            else:
                mine["used"].add(base64.b64decode(given["artifactID"]).decode())
    tables = {name for name in mine["made"] if name.startswith("run-")}  # W&B's own
    return mine["used"], mine["made"] - tables


def test_all_that_an_offline_run_holds_is_sent(runs):
    sent = sync(runs)
    begun = {v["name"]: v for name, v in sent if name == "UpsertBucket" and v["groupName"]}
    for run in runs:
        told = begun[run.run.run_id]
        assert (told["groupName"], told["jobType"]) == ("seq_kd", run.stage)
        assert told["displayName"] == run.run.display_name
        assert artifacts(sent, run) == (set(run.used), set(run.made))
        assert [row for row in history(sent, run) if "step" in row] == run.curves
    student = next(run for run in runs if run.stage == "student")
    assert len(student.curves) == 4
    assert len(student.used) == 4
    tables = {path for name, (path, _) in (s for s in sent if s[0] == "file") if "samples" in path}
    assert len(tables) == 2, "of the student and of its scores"

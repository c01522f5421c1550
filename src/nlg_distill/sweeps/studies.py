"""Optuna's studies: a sweep that is started again goes on with the trials that are missing."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from nlg_distill.errors import UserError
from nlg_distill.tasks import Task

ELSEWHERE = ("hydra", "paths", "logger", "name")  # what a score does not depend on


def resume(config: DictConfig) -> None:
    """Sets the study's name, storage and direction, and how many trials are still to be made.

    What failed, or was being tried when the sweep was killed, is tried again with the same
    parameters; its trainings go on from the store. The sampler is seeded by its seed and the number
    of trials so far, so that it does not draw those again. One sweep at a time may use a study.

    Raises:
        UserError: if a direction was given that is not that of the task's score.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of its parts when imported
    import optuna

    sweeper, launcher = config.hydra.sweeper, config.hydra.launcher
    given = {override.partition("=")[0] for override in config.hydra.overrides.hydra}
    task: Task = instantiate(config.task, _convert_="all")
    direction = f"{task.mode}imize"
    if "hydra.sweeper.direction" in given and sweeper.direction != direction:
        raise UserError(
            f"hydra.sweeper.direction={sweeper.direction} is not the direction of {task.monitor}, "
            f"which is optimised: leave it out"
        )
    sweeper.direction = direction
    sweeper.max_failure_rate = 1.0  # failed jobs are told of at the end, and stop nothing
    if "hydra.sweeper.n_jobs" not in given:
        sweeper.n_jobs = launcher.get("n_jobs", 1)
    for folder in (config.paths.runs, config.hydra.sweep.dir):
        Path(folder).mkdir(parents=True, exist_ok=True)
    sweeper.storage = sweeper.storage or f"sqlite:///{config.paths.runs}/optuna.db"
    sweeper.study_name = sweeper.study_name or study_name(config)
    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(
        study_name=sweeper.study_name,
        storage=sweeper.storage,
        direction=direction,
        load_if_exists=True,
    )
    finished = _try_again(study)
    sweeper.n_trials = max(0, sweeper.n_trials - finished)
    if "seed" in sweeper.sampler:
        sweeper.sampler.seed = (sweeper.sampler.seed or 0) + len(study.trials)


def _try_again(study: Any) -> int:
    """Puts what failed or was killed in the queue; gives the number of finished trials."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    finished = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    waiting = study.get_trials(states=(TrialState.WAITING,))
    settled = finished + [trial.system_attrs["fixed_params"] for trial in waiting]
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        if trial.params and trial.params not in settled:
            study.enqueue_trial(trial.params)
            settled.append(trial.params)
    return len(finished)


def study_name(config: DictConfig) -> str:
    """The run's name, and a hash of all that a score depends on and of what is searched."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    identity = {key: value for key, value in plain.items() if key not in ELSEWHERE}
    params = plain["hydra"]["sweeper"]["params"]
    given = OverridesParser.create().parse_overrides(plain["hydra"]["overrides"]["task"])
    swept = sorted(str(override.input_line) for override in given if override.is_sweep_override())
    text = json.dumps([identity, params, swept], sort_keys=True, default=str)
    return f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

"""A run of Weights & Biases for each artifact that is made. What breaks there stops nothing."""

import functools
import json
import multiprocessing.util
import os
import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from nlg_distill.curves import line_of, read_curves
from nlg_distill.store import Stage, Store
from nlg_distill.tracking.subject import Subject
from nlg_distill.tracking.wandb_artifacts import artifact_of, use

SAMPLES = 100  # rows of the table of samples
FACTS = ("training.json", "result.json")  # what an artifact knows of itself in numbers


class TolerantWandb(Logger):
    """W&B that turns itself off, with a warning, at its first error.

    The run starts at the first logged value, offline unless the user is logged in.
    """

    def __init__(
        self, subject: Subject, *, project: str, group: str | None, upload_models: bool
    ) -> None:
        """Keeps what the run is to be called; nothing is started.

        Args:
            subject: what the run is of.
            project: of W&B.
            group: of W&B; the subject's if None.
            upload_models: whether weights are uploaded too, and not only where they lie.
        """
        super().__init__()
        self.subject, self.project, self.upload_models = subject, project, upload_models
        self.group = group or subject.group
        self.broken = False
        self._run: Any = None
        self._has_curves = False
        self._is_elsewhere = False

    def __getstate__(self) -> dict[str, Any]:
        """Another process of the training tells nothing: `record` does, when it is done."""
        return {**self.__dict__, "_run": None, "_is_elsewhere": True}

    @property
    def name(self) -> str:
        return self.subject.title

    @property
    def version(self) -> str:
        return self.subject.artifact.stem

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is given at the start; modules add none."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """The same lines as in `curves.jsonl`, those of an attempt that was killed included."""
        assert step is not None, "Lightning says at which step"

        def write(run: Any) -> None:
            self._catch_up(run, self.subject.artifact, step)
            run.log(line_of(metrics, step))

        self.tell(write)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """The run goes on after training: its artifact is still to come, and its scores."""

    def record(self, stage: Stage, store: Store) -> None:
        """The finished artifact: its curves, its numbers, and what it was made from.

        All of its ancestors are inputs, not only its parents: one that was found in the store may
        have been made when nobody told W&B.
        """

        def write(run: Any) -> None:
            path = store.path(stage)
            self._catch_up(run, path)
            for file in FACTS:
                if (path / file).is_file():
                    run.summary.update(flat(json.loads((path / file).read_text("utf-8"))))
            _log_samples(run, path / "samples.jsonl")
            ancestors = {s.key: s for s in stage.ancestry() if s.key != stage.key and store.has(s)}
            for ancestor in ancestors.values():
                use(run, artifact_of(store.path(ancestor), self.upload_models))
            run.log_artifact(artifact_of(path, self.upload_models))

        self.tell(write)

    def show(self, result: Mapping[str, Any], samples: Path) -> None:
        """Scores that were made after the artifact, as the run's summary; the first samples."""

        def write(run: Any) -> None:
            run.summary.update(flat(result))
            _log_samples(run, samples)

        self.tell(write)

    def finish(self) -> None:
        """Ends the run."""
        self.tell(lambda run: run.finish())

    def tell(self, action: Callable[[Any], None]) -> None:
        """Does something with the run, which is started if there is none yet."""
        if self.broken or self._is_elsewhere:
            return
        try:
            self._run = self._run or self._start()
            action(self._run)
        except Exception as error:
            self.broken = True
            warnings.warn(
                f"W&B stopped working and is off for the rest of this run "
                f"({type(error).__name__}: {error}); result.json is written all the same",
                stacklevel=2,
            )

    def _catch_up(self, run: Any, artifact: Path, step: int | None = None) -> None:
        """Once, before anything is logged: what the artifact's curves hold, up to a step."""
        if not self._has_curves:
            self._has_curves = True
            for line in read_curves(artifact):
                if step is None or line["step"] < step:
                    run.log(line)

    def _start(self) -> Any:
        import wandb

        _end_with_process()
        mode: Any = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False):
            mode = "offline"
        subject = self.subject
        subject.run_folder.mkdir(parents=True, exist_ok=True)
        is_main = subject.folder == subject.run_folder  # an agent's WANDB_RUN_ID is for that alone
        run = wandb.init(
            id=None if is_main else secrets.token_hex(4),
            name=subject.title,
            project=self.project,
            group=self.group,
            job_type=subject.stage,
            tags=[tag[:64] for tag in subject.tags],  # W&B refuses longer ones
            dir=subject.run_folder.absolute(),  # W&B may write from another process
            config={**subject.config, "artifact": f"{subject.stage}/{subject.artifact.stem}"},
            mode=mode,
            settings=wandb.Settings(
                reinit="create_new",
                silent=True,
                console="off",
                init_timeout=30,
                x_disable_stats=True,
            ),
        )
        run.define_metric("step", hidden=True)
        for prefix in ("train", "val"):
            run.define_metric(f"{prefix}/*", step_metric="step")
        return run


@functools.cache
def _end_with_process() -> None:
    """Lets W&B write what it has when a worker ends, which does not go through `atexit`."""
    import wandb

    if multiprocessing.parent_process() is not None:
        multiprocessing.util.Finalize(None, wandb.teardown, exitpriority=0)


def _log_samples(run: Any, path: Path) -> None:
    """The first of what was written for the test set, as a table, if there is any."""
    import wandb

    lines = path.read_text("utf-8").split("\n")[:SAMPLES] if path.is_file() else []
    if rows := [json.loads(line) for line in lines if line]:
        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        run.log({"samples": table})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by slashes."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}/")
        else:
            result[f"{prefix}{key}"] = value
    return result

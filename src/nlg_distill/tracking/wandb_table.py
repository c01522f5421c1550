"""A finished table as a run of Weights & Biases, beside the runs of its rows."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from nlg_distill.tables.parts import Part
from nlg_distill.tables.spec import Column
from nlg_distill.tables.table import Table
from nlg_distill.tracking.subject import Subject
from nlg_distill.tracking.wandb_artifacts import artifact_of, use
from nlg_distill.tracking.wandb_run import TolerantWandb


def log_table(table: Table, name: str, cfg: DictConfig, folder: Path) -> None:
    """Tells W&B of a table, if that is the logger: its cells, its runs, and what it is made of.

    Args:
        table: the finished table.
        name: its file in conf/table, and its scale if that is not the usual one.
        cfg: the config of one of its runs, whose logger is asked.
        folder: that of the table's runs; the table is written there too, and never changed.
    """
    subject = Subject(
        folder=folder / "table",
        run_folder=folder,
        stage="table",
        artifact=folder / "table" / name,
        title=f"table {name}",
        tags=[],
        group=name,
        config=asdict(table.spec),
    )
    logger = instantiate(cfg.logger, subject)
    if not isinstance(logger, TolerantWandb):
        return
    table.write(subject.artifact)
    logger.tell(lambda run: _describe(run, table))
    logger.tell(lambda run: _link(run, table, subject.artifact, logger.upload_models))
    logger.finish()


def _describe(run: Any, table: Table) -> None:
    """The table in the overview of the run, and as tables that can be sorted and plotted."""
    run.notes = table.markdown()
    logged = {"table": _cells(table.part, table.columns), "runs": _runs(table)}
    if table.equal_time_runs:
        logged["table_at_equal_time"] = _cells(table.equal_time, table.equal_time_columns)
    run.log(logged)


def _cells(part: Part, columns: Sequence[Column]) -> Any:
    """The cells as they are written, a row to a row."""
    import wandb

    heads: list[str] = []
    for column in columns:  # several columns are called Δ, each of the one before it
        heads.append(f"{heads[-1]} {column.head}" if column.difference and heads else column.head)
    data = [[row, *part.cells(row, columns)] for row in part.rows]
    return wandb.Table(columns=["row", *heads], data=data)


def _runs(table: Table) -> Any:
    """The numbers of every run, unrounded, as in `table.csv`."""
    import wandb

    head, *lines = csv.reader(io.StringIO(table.csv()))
    return wandb.Table(
        columns=list(head), data=[[_number(cell) for cell in line] for line in lines]
    )


def _number(cell: str) -> float | str | None:
    """What a cell of a CSV says: a number where it is one, nothing where it is empty."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


def _link(run: Any, table: Table, written: Path, upload_models: bool) -> None:
    """The written table as an artifact, made from the scores of every run."""
    import wandb

    runs = [*table.runs, *table.equal_time_runs]
    for path in sorted({made.artifact for made in runs}):
        use(run, artifact_of(Path(path), upload_models))
    artifact = wandb.Artifact(f"table-{written.name}", "table")
    for file in sorted(written.iterdir()):
        artifact.add_file(str(file.absolute()), file.name, policy="immutable")
    run.log_artifact(artifact)

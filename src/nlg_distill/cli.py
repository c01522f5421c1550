"""The `nlg-distill` command. Heavy imports happen inside the commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
store_app = typer.Typer(no_args_is_help=True, help="What is on disk.")
app.add_typer(store_app, name="store")


def main() -> None:
    """Runs the command line; a mistake ends with a sentence, not a traceback."""
    from nlg_distill.errors import explained

    with explained():
        app()


@app.callback()
def nlg_distill() -> None:
    """Knowledge distillation for text generation."""


@app.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="A file of conf/table, for example demo.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides for all rows, as for train.py.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cores to use; all if not given.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="cpu or paper, of a table that has both; cpu.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="The first so many of the table's seeds.")
    ] = None,
) -> None:
    """Runs what is missing of a table and prints it, beside published numbers if it has some."""
    from nlg_distill.report import show_table
    from nlg_distill.tables.reproduce import folder_of
    from nlg_distill.tables.reproduce import reproduce as make

    made = make(table, overrides or [], jobs, scale=scale, seeds=seeds)
    show_table(made, folder_of(table, scale))


Folders = Annotated[
    list[Path] | None, typer.Argument(help="Of finished runs or sweeps; runs if none.")
]
Rows = Annotated[
    str | None,
    typer.Option(help="What the runs of a row agree in: KEY[,KEY]; all but the seed if not given."),
]


@app.command("table")
def compare_runs(
    folders: Folders = None,
    rows: Rows = None,
    columns: Annotated[
        str | None, typer.Option(help="METRIC[,METRIC], paths in result.json: beam_5/bleu.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The row that differences are to.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="md, latex, csv or html; as --output ends.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file; standard output if none.")] = None,
) -> None:
    """Compares finished runs, grouped over seeds."""
    from nlg_distill.comparing.compare import write_table

    write_table(
        folders or [Path("runs")],
        rows=rows,
        columns=columns,
        baseline=baseline,
        form=form,
        output=output,
    )


@app.command()
def pareto(
    folders: Folders = None,
    rows: Rows = None,
    cost: Annotated[
        str, typer.Option(help="Such as megabytes or beam_5/source_words_per_second.")
    ] = "total_training_seconds",
    quality: Annotated[
        str | None, typer.Option(help="Such as perplexity; the task's own if not given.")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of the cost.")] = False,
    output: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("pareto.svg"),
) -> None:
    """Draws the quality of finished runs by their cost, and which no other beats in both."""
    from nlg_distill.comparing.compare import write_plot

    write_plot(
        folders or [Path("runs")], rows=rows, cost=cost, quality=quality, log=log, output=output
    )


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"),
    where: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of their settings; may be repeated.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="running, finished, failed or killed.")] = None,
    sort: Annotated[str | None, typer.Option(help="METRIC, the best first.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most.")] = None,
) -> None:
    """Lists runs, the newest first: finished ones, those that go on, and those that did not end."""
    from nlg_distill.runs.listing import chosen_runs, listed_runs, show_runs

    found = listed_runs(folder)
    chosen = chosen_runs(found, where=where or [], status=status, sort=sort, limit=limit)
    show_runs(chosen, len(found), sort)


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="A teacher or student artifact, or a run folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sources, or what a language model goes on from; standard input, line by line, "
            "if none."
        ),
    ] = None,
    beam: Annotated[int | None, typer.Option(help="Beam size, 5; 1 is greedy.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw instead of searching.")] = False,
    temperature: Annotated[float | None, typer.Option(help="Of what is drawn; 1.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest of such mass.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn; 1.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Written at most.")] = None,
) -> None:
    """Writes the target text of each source, or goes on with each beginning."""
    from nlg_distill.errors import UserError
    from nlg_distill.generate import chosen_writing, generate_texts

    writing = chosen_writing(
        beam=beam, sample=sample, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    if not texts:
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")  # type: ignore[union-attr]
    try:
        given = texts or [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8: {error}") from error
    for text in generate_texts(model, given, writing, max_tokens=max_tokens):
        print(text)


@app.command()
def sources(
    file: Annotated[Path, typer.Argument(help="Where they go, one a line.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides, as for train.py: data=... at least.")
    ] = None,
) -> None:
    """Writes the training sources of a corpus, for a black box to answer line by line."""
    from nlg_distill.training_sources import write_sources

    print(f"{write_sources(file, overrides or []):,} sources in {file}")


@app.command("wandb-report")
def wandb_report(
    table: Annotated[str, typer.Argument(help="A table that was made, for example demo.")],
    entity: Annotated[str, typer.Option(help="Who owns the project in W&B.")],
    project: Annotated[str, typer.Option(help="logger.project of its runs.")] = "nlg-distill",
    group: Annotated[str | None, typer.Option(help="logger.group, if it was given.")] = None,
    to: Annotated[Path | None, typer.Option(help="Write the layout here; save nothing.")] = None,
) -> None:
    """Saves a report about a table in Weights & Biases, or writes its layout to a file."""
    from nlg_distill.tracking.wandb_report import layout_of, report_of, save

    report = report_of(Path("tables") / table, entity=entity, project=project, group=group)
    if to is None:
        print(save(report))
    else:
        to.write_text(layout_of(report), encoding="utf-8")


@app.command("wandb-sweep")
def wandb_sweep(
    sweep: Annotated[str, typer.Argument(help="A file of conf/sweep, for example word_kd.")],
    file: Annotated[Path, typer.Argument(help="Where it goes, for example word_kd.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides of all runs, as for train.py.")
    ] = None,
    method: Annotated[str, typer.Option(help="bayes, random or grid.")] = "bayes",
) -> None:
    """Writes a search space for `wandb sweep` and its agents."""
    from nlg_distill.sweeps.wandb_sweeps import write_wandb_sweep

    write_wandb_sweep(sweep, file, overrides or [], method)
    print(f"Register it with `wandb sweep {file}`; start agents in the folder of train.py.")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="With runs in it, however deep: runs/ or a part.")],
    output: Annotated[
        Path | None, typer.Option(help="The page; report.html in the folder if not given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    texts: Annotated[
        int, typer.Option(min=0, help="Texts of each test set that it shows at most.")
    ] = 200,
) -> None:
    """Writes one HTML page about finished runs, which needs no network and no account."""
    from nlg_distill.html_report import write_report

    page = write_report(folder, output, title=title, num_texts=texts)
    print(f"{page}, {page.stat().st_size / 1e6:.1f} MB")


@app.command("fetch-smollm2")
def fetch_smollm2(
    downloads: Annotated[Path, typer.Option(help="Where it goes: paths.downloads.")] = Path(
        "downloads"
    ),
) -> None:
    """Fetches SmolLM2-135M-Instruct, 93 MB, which model@teacher_model=smollm2 reads."""
    from nlg_distill.data.smollm2 import fetch

    print(fetch(downloads))


@store_app.command("ls")
def store_ls(root: Path = Path("artifacts")) -> None:
    """Every artifact, its size, and what was made from it."""
    from nlg_distill.report import show_store
    from nlg_distill.store import Store

    show_store(Store(root))


@store_app.command("verify")
def store_verify(root: Path = Path("artifacts")) -> None:
    """Compares every artifact with its checksums."""
    from nlg_distill.errors import UserError
    from nlg_distill.store import Store

    if not root.is_dir():
        raise UserError(f"there is no store at {root.absolute()}: give --root")
    store = Store(root)
    damaged = [f"{p}: {problem}" for p in store.folders() if (problem := store.damage(p))]
    if damaged:
        raise UserError(
            "\n".join([*damaged, "The next run that needs one of these makes it again."])
        )
    print(f"{sum(1 for _ in store.entries())} artifacts, all as they were made")


@store_app.command("rm")
def store_rm(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys, or stage/key.")] = None,
    root: Path = Path("artifacts"),
    force: Annotated[bool, typer.Option(help="Also what others were made from.")] = False,
    unfinished: Annotated[bool, typer.Option(help="What was begun and not finished.")] = False,
) -> None:
    """Deletes artifacts."""
    import shutil

    from nlg_distill.errors import UserError
    from nlg_distill.store import Store

    if not keys and not unfinished:
        raise UserError("nothing to remove: give keys, or --unfinished")
    store = Store(root)
    removed = store.remove([Path(key).name for key in keys or []], force=force)
    for path in store.unfinished() if unfinished else ():
        shutil.rmtree(path)
        removed.append(path)
    for path in removed:
        print(f"removed {path}")

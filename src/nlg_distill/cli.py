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
) -> None:
    """Runs what is missing of a table and prints it."""
    from nlg_distill.report import show_table
    from nlg_distill.reproduce import reproduce as make

    show_table(make(table, overrides or [], jobs), Path("tables") / table)


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

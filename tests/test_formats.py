"""A comparison as Markdown, LaTeX, HTML and CSV, with its numbers by hand."""

import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from finished_cases import leave_run
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.comparing.compare import write_table
from nlg_distill.comparing.comparison import compare
from nlg_distill.comparing.formats import csv_table, html_table, in_latex, latex, markdown
from nlg_distill.errors import UserError
from nlg_distill.runs.grouping import compared_runs, grouped
from nlg_distill.runs.state import state_kept

METRICS = ["beam_5/bleu", "mode_probability", "parameters"]
HOSTILE = r"[w] a_b & 50% | <i>#1</i> $x^2$ {y} ~z *v* \n `u`"


@pytest.fixture
def comparison(tmp_path):
    """BLEU of base: 10, 11, 12; of kd: 12, 15, 12; of a name of special characters: 10.5."""
    for seed, (base, kd) in enumerate([(10.0, 12.0), (11.0, 15.0), (12.0, 12.0)], start=1):
        leave_run(tmp_path / f"{seed}", "base", seed, base)
        known = {"mode_probability": 0.03 if seed == 1 else None}
        leave_run(tmp_path / f"1{seed}", "kd", seed, kd, result=known)
    leave_run(tmp_path / "20", HOSTILE, bleu=10.5)
    runs, _ = compared_runs([tmp_path])
    return compare(grouped(runs), metrics=METRICS, baseline="base")


def test_markdown(comparison):
    lines = markdown(comparison).splitlines()
    assert lines[:4] == [
        "| | runs | BLEU K=5 | Δ | p(ŷ) | parameters |",
        "|---|---:|---:|---:|---:|---:|",
        "| base | 3 | 11.0 ± 1.0 |  | 2.00% ± 0.00% | 466,848 |",
        "| kd | 3 | **13.0 ± 1.7** | +2.0 | 3.00% (n=1) | 466,848 |",
    ]
    assert lines[4].startswith(r"| \[w\] a\_b & 50% \| \<i>#1\</i> $x^2$ {y} ~z \*v\* \\n \`u\` |")
    assert lines[4].endswith("| 1 | 10.5 | -0.5 | 2.00% | 466,848 |")
    assert lines[6] == "- Mean ± sample standard deviation over seeds 1, 2, 3."
    assert "- Δ: the mean's difference to that of base." in lines


def test_csv_has_every_number_unrounded(comparison):
    base, kd, other = csv.DictReader(io.StringIO(csv_table(comparison)))
    assert list(base)[:7] == [
        *("row", "runs", "seeds"),
        *(f"beam_5/bleu {what}" for what in ("mean", "std", "n", "difference")),
    ]
    assert (kd["row"], kd["runs"], kd["seeds"]) == ("kd", "3", "1 2 3")
    assert float(kd["beam_5/bleu mean"]) == 13.0
    assert float(kd["beam_5/bleu std"]) == pytest.approx(3**0.5, abs=1e-12)
    assert float(kd["beam_5/bleu difference"]) == 2.0
    assert (kd["mode_probability mean"], kd["mode_probability n"]) == ("0.03", "1")
    assert (other["row"], other["beam_5/bleu std"]) == (HOSTILE, "")
    assert base["beam_5/bleu difference"] == ""


class Page(HTMLParser):
    """What a table says, cell by cell, and what is strong in it."""

    def __init__(self):
        super().__init__()
        self.rows, self.strong, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open:
            self.rows[-1][-1] += data
        if "strong" in self.open:
            self.strong.append(data)


def test_html(comparison):
    page = Page()
    page.feed(html_table(comparison))
    assert page.open == []
    assert page.rows[0] == ["", "runs", "BLEU K=5", "Δ", "p(ŷ)", "parameters"]
    assert page.rows[2] == ["kd", "3", "13.0 ± 1.7", "+2.0", "3.00% (n=1)", "466,848"]
    assert page.rows[3][0] == HOSTILE
    assert page.strong == ["13.0 ± 1.7"]


def test_latex(comparison):
    lines = latex(comparison).splitlines()
    begin = lines.index(r"\begin{tabular}{lrrrrr}")
    assert lines[begin + 1 : begin + 6] == [
        r"\toprule",
        r"& runs & BLEU K=5 & $\Delta$ & p($\hat{y}$) & parameters \\",
        r"\midrule",
        r"base & 3 & 11.0 $\pm$ 1.0 &  & 2.00\% $\pm$ 0.00\% & 466,848 \\",
        r"kd & 3 & \textbf{13.0 $\pm$ 1.7} & +2.0 & 3.00\% (n=1) & 466,848 \\",
    ]
    assert " & 10.5 & $-$0.5 & " in lines[begin + 6]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert all(line.startswith("%") for line in lines[:begin])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("-0.5 (-1.2) seq-kd lr=1e-3", "$-$0.5 ($-$1.2) seq-kd lr=1e-3"),
        ("ŷ ± Δ", r"$\hat{y}$ $\pm$ $\Delta$"),
        ("\\", r"\textbackslash{}"),
    ],
)
def test_characters_stand_for_themselves_in_latex(text, written):
    assert in_latex(text) == written


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex, with booktabs")
def test_latex_compiles_and_says_what_the_table_says(comparison, tmp_path):
    (tmp_path / "table.tex").write_text(latex(comparison), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[landscape,margin=1cm]{geometry}\usepackage{booktabs}"
        r"\begin{document}\input{table}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said
    assert "Missing character" not in said
    assert "Output written on paper.pdf (1 page" in said


# Files.


def test_a_file_is_of_the_format_that_its_name_says(tmp_path, capsys):
    leave_run(tmp_path / "runs" / "0", "a")
    leave_run(tmp_path / "runs" / "1", "b", result={"decoding/precision": "16"})
    for ending, beginning in [("md", "| |"), ("tex", "%"), ("csv", "row,"), ("html", "<table>")]:
        file = tmp_path / f"table.{ending}"
        write_table([tmp_path / "runs"], columns="beam_5/bleu, perplexity", output=file)
        assert file.read_text("utf-8").startswith(beginning)
        said = capsys.readouterr()
        assert said.out == f"Written to {file}\n"
        assert said.err.startswith("NOT COMPARABLE between rows: BLEU K=5, PPL.")


def test_a_format_overrides_the_name_and_a_wrong_one_is_refused(tmp_path, capsys):
    leave_run(tmp_path / "0")
    write_table([tmp_path], form="csv")
    assert capsys.readouterr().out.startswith("row,")
    write_table([tmp_path])
    assert capsys.readouterr().out.startswith("| |")
    with pytest.raises(UserError, match="no format 'pdf': there are md, latex, csv, html"):
        write_table([tmp_path], form="pdf")
    with pytest.raises(UserError, match=r"table.xlsx has cannot be told .* one of .md, .tex"):
        write_table([tmp_path], output=tmp_path / "table.xlsx")
    assert not (tmp_path / "table.xlsx").exists()
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        write_table([tmp_path / "nowhere"])


def test_runs_of_several_folders_are_one_table(tmp_path, capsys):
    leave_run(tmp_path / "a" / "0", seed=1, scores="scores/1")
    leave_run(tmp_path / "b" / "0", seed=2, scores="scores/2")
    write_table([tmp_path / "a", tmp_path / "b", tmp_path], columns="beam_5/bleu", form="csv")
    assert capsys.readouterr().out.splitlines()[1] == "run,2,1 2,20.0,0.0,2"


def test_runs_without_a_result_are_told(tmp_path, capsys):
    leave_run(tmp_path / "0")
    with pytest.raises(RuntimeError), state_kept(tmp_path / "1", "run", []):
        raise RuntimeError
    write_table([tmp_path], columns="beam_5/bleu", form="csv")
    said = capsys.readouterr()
    assert said.err == "Not in the table: 1 failed; nlg-distill runs lists them.\n"
    assert len(said.out.splitlines()) == 2


def test_the_command_line_hands_on_what_it_is_told(tmp_path):
    leave_run(tmp_path / "0", "a", bleu=10.0)
    leave_run(tmp_path / "1", "b", bleu=12.0)
    asked = ["--rows", "experiment", "--columns", "beam_5/bleu", "--baseline", "a"]
    done = CliRunner().invoke(app, ["table", str(tmp_path), *asked, "--format", "latex"])
    assert r"b & \textbf{12.0} & +2.0 \\" in done.stdout
    asked = ["--cost", "megabytes", "--quality", "perplexity", "--output", str(tmp_path / "p.svg")]
    done = CliRunner().invoke(app, ["pareto", str(tmp_path), *asked, "--log"])
    assert "PPL by MB" in (tmp_path / "p.svg").read_text()
    asked = ["--where", "experiment=a", "--status", "finished", "--sort", "perplexity"]
    done = CliRunner().invoke(app, ["runs", str(tmp_path), *asked, "--limit", "3"])
    assert "1 of 2 runs" in done.stdout

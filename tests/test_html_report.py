"""The page of a report: texts that look like markup, its policy, its size, what it replaces."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from report_runs import falling, leave_run, leave_sweep
from test_run import settings, train, write_corpus
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.errors import UserError
from nlg_distill.html_report import write_report
from nlg_distill.html_report.block import as_block


class Scripts(HTMLParser):
    """The content of each `<script>` as a browser would cut it, by its type."""

    def __init__(self, page):
        super().__init__()
        self.found, self._type = {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self._type = dict(attrs).get("type", "")

    def handle_data(self, data):
        if self._type is not None:
            self.found.setdefault(self._type, []).append(data)

    def handle_endtag(self, tag):
        self._type = None


def data_of(page):
    (block,) = Scripts(page.read_text(encoding="utf-8")).found["application/json"]
    return json.loads(block)


@pytest.fixture
def sweep(tmp_path):
    return leave_sweep(tmp_path)


def test_real_runs_with_two_terms_are_told_from_their_folders_and_store(tmp_path):
    write_corpus(tmp_path)
    for seed in (1, 2):
        method = ["experiment=word_kd", f"seed={seed}"]
        result = train([*settings(tmp_path), *method], tmp_path / "runs" / "word_kd" / str(seed))
    data = data_of(write_report(tmp_path / "runs"))
    assert [run["folder"] for run in data["runs"]] == ["word_kd/1", "word_kd/2"]
    (corpus,) = data["corpora"]
    assert [(group["label"], group["runs"]) for group in corpus["groups"]] == [("word_kd", [0, 1])]
    assert data["runs"][1]["scores"]["perplexity"] == result["perplexity"]
    assert data["runs"][1]["settings"]["seed"] == 2
    for name in ("train/loss", "val/bleu", "train/forward_kl", "train/gradient_share/nll"):
        steps, values = data["runs"][0]["series"][name]
        assert len(data["runs"][0]["steps"][steps]) == len(values) == 2
    assert data["runs"][0]["terms"] == ["nll", "forward_kl"]
    stages = {name.split("/")[0] for name in data["runs"][0]["cost"]["parts"]}
    assert stages == {"corpus", "tokenizer", "teacher", "student", "scores"}
    assert corpus["hygiene"]["test"]["pairs"] == 20
    assert len(corpus["texts"]["writers"]) == 3


def test_a_score_that_is_not_finite_has_no_mean(sweep):
    path = sweep / "runs" / "kl_1" / "result.json"
    result = json.loads(path.read_text())
    result["perplexity"] = math.inf
    path.write_text(json.dumps(result))
    (corpus,) = data_of(write_report(sweep / "runs"))["corpora"]
    (group,) = [g for g in corpus["groups"] if g["label"].startswith("word_kd")]
    assert group["stats"]["perplexity"]["mean"] is None


def test_a_text_cannot_end_the_data_or_become_markup(tmp_path):
    evil = '</script ></script><script>alert(1)</script><!-- <b>&amp; " \u2028 \ud83d'
    texts = [(evil, "a b", "a b")]
    leave_run(tmp_path, "run", written=[evil], texts=texts)
    page = write_report(tmp_path / "runs", title="</title><b>Runs & more")
    whole = page.read_text(encoding="utf-8")
    block = re.search('id="data">(.*)</script>\n<script>', whole, re.DOTALL)[1]
    assert not set("<>&") & set(block)
    assert "alert(1)</script>" not in whole
    assert "<title>&lt;/title&gt;&lt;b&gt;Runs &amp; more</title>" in whole
    found = data_of(page)["corpora"][0]["texts"]
    assert found["source"] == [evil]
    assert len(Scripts(whole).found) == 2


def test_a_block_of_numbers_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        as_block([math.nan])


def test_the_page_loads_nothing_and_runs_its_own_script_alone(sweep):
    page = write_report(sweep / "runs").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='; style-src 'sha256-", policy)
    assert "unsafe" not in policy
    assert not re.findall(r"""(?:src|href)=["'](?!data:,|#)[^"']*""", page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_report_is_replaced_and_no_other_file(sweep):
    runs = sweep / "runs"
    done = CliRunner().invoke(app, ["report", str(runs), "--title", "First"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{runs}/report.html, 0.")
    write_report(runs, title="Second")
    assert data_of(runs / "report.html")["title"] == "Second"
    other = sweep / "notes.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(UserError, match=r"notes\.html is there and is no report"):
        write_report(runs, other)
    with pytest.raises(UserError, match=r"runs is a folder: give --output a file"):
        write_report(runs, runs)
    assert other.read_text() == "<p>mine</p>"


def test_a_hundred_runs_are_within_fifteen_megabytes(tmp_path):
    rows = [
        (f"Quelle {i} " + "wort " * 25, f"gold {i} " + "word " * 25, "x " * 25) for i in range(400)
    ]
    names = [f"train/{name}" for name in "abcdefghijklmnopqrst"]
    for number in range(100):
        leave_run(
            tmp_path,
            f"run_{number}",
            seed=number % 4,
            loss=[f"loss_{number // 4}"],
            texts=rows,
            written=["word " * 26] * 400,
            curves=falling(names, 60, number),
        )
    page = write_report(tmp_path / "runs")
    assert page.stat().st_size < 15e6
    data = data_of(page)
    assert len(data["runs"]) == 100
    assert len(data["corpora"][0]["texts"]["chosen"]) == 200

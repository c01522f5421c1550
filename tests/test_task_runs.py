"""Whole runs of two steps on every task, and on further test sets."""

import json
import re

import pytest
from test_run import ENGLISH, GERMAN, settings, write_corpus

from nlg_distill.config import compose
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.run import run
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.plan import plan
from nlg_distill.tables.parts import Run
from nlg_distill.tables.reproduce import _plan_row
from nlg_distill.tables.spec import Best, Column, Row, TableSpec
from nlg_distill.tables.table import Table
from nlg_distill.text_metrics import distinct

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    rows = [line.split("\t") for line in (folder / "numbers.tsv").read_text().splitlines()[1:]]
    lines = ["source\ttarget", *(f"\t{target}" for _, target in rows)]
    (folder / "english.tsv").write_text("\n".join(lines) + "\n")
    return folder


SUMMARIES = {"rouge_1", "rouge_2", "rouge_l", "rouge_signature", "length_ratio", "repetition"}
REPLIES = {"bleu", "bleu_signature", "distinct_1", "distinct_2", "length_ratio", "repetition"}
SIMPLER = {"sari", "bleu", "bleu_signature", "length_ratio", "repetition"}
TRANSLATIONS = {"bleu", "chrf", "bleu_signature", "chrf_signature", "length_ratio", "repetition"}


@pytest.mark.parametrize(
    ("task", "metrics", "watched"),
    [
        ("translation", TRANSLATIONS, "bleu"),
        ("translation_characters", TRANSLATIONS - {"length_ratio", "repetition"}, "bleu"),
        ("summarization", SUMMARIES, "rouge_l"),
        ("dialogue", REPLIES, "nll"),
        ("simplification", SIMPLER, "sari"),
    ],
)
def test_a_teacher_and_its_student_train_two_steps_on_every_task(home, task, metrics, watched):
    folder = home / "runs" / task
    overrides = [*settings(home), "data.tokenizer.vocab_size=44", "experiment=word_kd"]
    overrides = [*overrides, f"task={task}"]
    result = run(compose(overrides), overrides, folder)
    assert result["steps"] == 2
    for beam in ("beam_1", "beam_5"):
        assert set(result[beam]) == metrics | {"source_words_per_second"}
    assert {f"best_validation_{watched}"} == {k for k in result if k.startswith("best_validation")}
    header = (folder / "curves" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {f"val/{watched}", "val/nll", "val/length_ratio"} <= set(header)
    assert ("val/bleu" in header) == (watched == "bleu")


@pytest.mark.parametrize("model", ["lstm_32", "gpt_tiny"])
def test_a_language_model_trains_without_sources_and_draws_texts(home, model, monkeypatch, capsys):
    monkeypatch.setattr("nlg_distill.modules.generation.greedy_search", None)
    monkeypatch.setattr("nlg_distill.stages.scores.write_texts", None)
    folder = home / "runs" / model
    overrides = [*settings(home), "task=language_modeling", "experiment=word_kd"]
    overrides += [f"data.corpus.path={home}/english.tsv", "+data.cleaning.without_source=true"]
    overrides += ["data.tokenizer.vocab_size=26"]
    for role in ("teacher", "student"):
        overrides.append(f"model@{role}_model={model}")
    if model == "gpt_tiny":
        overrides = [o for o in overrides if o != "student_model.dropout=0.0"]
    result = run(compose(overrides), overrides, folder)
    shown = capsys.readouterr().out
    assert re.search(rf"distinct-1 +│ +{result['drawn']['distinct_1']:.1%}", shown)
    assert "none" in re.search(r"train +│.*", shown)[0]  # no words of sources
    assert result["steps"] == 2
    assert result["perplexity"] > 1
    assert result["bits_per_byte"] > 0
    assert not [key for key in result if key.startswith(("beam_", "mode_"))]
    assert result["best_validation_nll"] < 10
    written = generate_texts(folder, ["one two", ""], chosen_writing(beam=2), max_tokens=8)
    assert written[0].startswith("one two")
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    test = [line.split("\t")[1] for line in (home / "english.tsv").read_text().splitlines()]
    assert len(samples) == 20
    assert all(f"{s['source']} {s['gold']}".strip() in test for s in samples)
    drawn = [sample["student"] for sample in samples]
    assert len(set(drawn)) > 10
    assert result["drawn"]["distinct_1"] == distinct(drawn, [], [], n=1)
    assert set(result["drawn"]) == {"distinct_1", "distinct_2", "length_ratio", "repetition"}
    header = (folder / "curves" / "metrics.csv").read_text().splitlines()[0]
    assert "val/nll" in header
    assert "val/length_ratio" not in header


def test_the_weights_are_those_of_the_best_validation(home, monkeypatch):
    """The loss falls at first and rises with a rate that is far too high; the smallest is kept."""
    overrides = [*settings(home, steps=6), "task=dialogue", "experiment=baseline", "seed=77"]
    overrides += ["student_training.optimizer.lr=0.5", "student_training.schedule.warmup_steps=0"]
    folder = home / "runs" / "best"
    result = run(compose(overrides), overrides, folder)
    lines = (folder / "curves" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/nll")
    seen = [float(cells[column]) for line in lines[1:] if (cells := line.split(","))[column]]
    assert result["best_validation_nll"] == pytest.approx(min(seen), rel=1e-5)
    assert min(seen) < max(seen)


# Further test sets


def with_test(home, name="counting"):
    corpus = {
        "_target_": "nlg_distill.data.text_files.TextFiles",
        "path": str(home / "counting.tsv"),
        "source_column": "source",
        "target_column": "target",
    }
    text = ", ".join(f"{key}: {value}" for key, value in corpus.items())
    return f"+data.further_tests={{{name}: {{{text}}}}}"


@pytest.fixture
def counting(home):
    """Longer numbers than those trained on; one of them, and the training text itself, twice."""
    numbers = ["1234", "5678", "9012", "1234", "34567", "89012"]
    rows = []
    for number in numbers:
        digits = [int(digit) for digit in number]
        rows.append("\t".join(" ".join(names[d] for d in digits) for names in (GERMAN, ENGLISH)))
    rows += (home / "numbers.tsv").read_text().splitlines()[1:]
    (home / "counting.tsv").write_text("\n".join(["source\ttarget", *rows]) + "\n")
    return home


def test_a_finished_student_is_scored_on_a_further_test_set(counting, capsys):
    overrides = [*settings(counting), "experiment=word_kd", "seed=31"]
    before = run(compose(overrides), overrides, counting / "runs" / "before")
    assert "further_tests" not in before
    overrides = [*overrides, with_test(counting)]
    capsys.readouterr()
    result = run(compose(overrides), overrides, counting / "runs" / "after")
    assert not result["trained_now"]
    assert result["artifacts"]["model"] == before["artifacts"]["model"]
    assert result["beam_5"]["bleu"] == before["beam_5"]["bleu"]

    found = result["further_tests"]["counting"]
    for beam in ("beam_1", "beam_5"):
        assert set(found[beam]) == set(result[beam])
    assert {"perplexity", "bits_per_byte", "mode_probability"} < set(found)
    assert found["perplexity"] != result["perplexity"]
    artifact = counting / "artifacts" / result["artifacts"]["further_tests"]
    pairs = load_split(artifact, "counting")
    held_out = 40  # of the corpus, which is not trained on
    assert found["sentences"] == len(pairs) == 5 + held_out
    facts = json.loads((artifact / "hygiene.json").read_text())["counting"]
    assert facts["cleaning"] == {"raw": 306, "exact duplicates": 1, "in the training text": 260}
    assert facts["share_a_text_with_train"] == 0
    assert facts["near_duplicates_in_train"] == {"source": 0, "target": 0, "pair": 0}
    shown = capsys.readouterr().out
    assert "260 in the training text" in " ".join(shown.split())
    assert "word_kd on counting" in shown


def test_a_further_test_set_that_a_student_cannot_read_costs_no_training(counting, tmp_path):
    with (counting / "counting.tsv").open("a") as file:
        file.write("eins " * 100 + "\t" + "one " * 100 + "\n")
    given = [o for o in settings(counting) if not o.startswith("student_model.")]
    overrides = [*given, "model@student_model=gpt_tiny", "student_model.max_positions=128"]
    overrides.append(f"paths.artifacts={tmp_path}/artifacts")
    with pytest.raises(
        UserError, match=r"texts of \d+ tokens are more than max_positions=128: set"
    ):
        run(compose([*overrides, with_test(counting)]), overrides, tmp_path / "run")
    stages = {path.parent.parent.name for path in tmp_path.glob("artifacts/*/*/metadata.json")}
    assert stages == {"corpus", "tokenizer", "further_tests"}
    assert run(compose(overrides), overrides, tmp_path / "run")["steps"] == 2


def test_a_further_test_set_that_a_stored_model_cannot_read_costs_no_decoding(
    counting, tmp_path, monkeypatch
):
    with (counting / "counting.tsv").open("a") as file:
        file.write("eins " * 100 + "\t" + "one " * 100 + "\n")
    overrides = [*settings(counting), "model@teacher_model=gpt_tiny", "experiment=teacher"]
    overrides.append("teacher_model.max_positions=128")
    run(compose(overrides), overrides, tmp_path / "run")
    overrides.append(with_test(counting))
    monkeypatch.setattr("nlg_distill.stages.scores.write_texts", None)
    with pytest.raises(UserError, match=r"more than max_positions=128: set"):
        run(compose(overrides), overrides, tmp_path / "run")


def test_a_further_test_set_is_a_column(counting):
    overrides = [*settings(counting), "experiment=baseline", with_test(counting)]
    result = run(compose(overrides), overrides, counting / "runs" / "column")
    columns = (Column("BLEU on it", "further_tests/counting/beam_5/bleu", ".3f"),)
    rows = [Row(row="Base", experiment="baseline")]
    spec = TableSpec(title="T", baseline="Base", rows=rows, scores=columns)
    assert _plan_row(spec, rows[0], overrides[:-2] + overrides[-1:])
    expected = f"{result['further_tests']['counting']['beam_5']['bleu']:.3f}"
    assert Table(spec, [Run("Base", 1, result, "scores/0")]).part.cells("Base", columns) == [
        expected
    ]


@pytest.mark.parametrize(
    ("overrides", "scores", "best", "message"),
    [
        ((), "further_tests/ui/beam_5/bleu", "perplexity", "the table needs further_tests/ui/beam"),
        (
            ("task=summarization",),
            "beam_1/rouge_l",
            "beam_5/bleu",
            "the table needs beam_5/bleu, a",
        ),
        (("data=bbc_prose",), "mode_probability", "perplexity", "the table needs mode_probability"),
        (
            ("data=hsk",),
            "beam_1/sari",
            "perplexity",
            "there will be perplexity, bits_per_byte, beam_1/bleu",
        ),
    ],
)
def test_what_no_run_of_a_table_will_have_is_refused_before_a_start(
    overrides, scores, best, message
):
    rows = [Row(row="Base", experiment="baseline")]
    columns = (Column("C", scores, ".1f"),)
    spec = TableSpec(title="T", baseline="Base", rows=rows, scores=columns, best=Best(metric=best))
    with pytest.raises(UserError, match=message):
        _plan_row(spec, rows[0], overrides)


def test_a_test_set_that_is_the_training_text_is_refused(home):
    lines = (home / "numbers.tsv").read_text()
    overrides = [*settings(home), "experiment=baseline", "data.splitting.seed=5"]
    stage = plan(compose(overrides), overrides).corpus
    run(compose(overrides), overrides, home / "runs" / "whole")
    train = load_split(home / "artifacts" / "corpus" / stage.key, "train")
    rows = [f"{pair.source}\t{pair.target}" for pair in train]
    (home / "counting.tsv").write_text("\n".join([lines.split("\n")[0], *rows]) + "\n")
    overrides = [*overrides, with_test(home)]
    with pytest.raises(
        UserError, match=r"counting: of 260 clean pairs, none is left that shares no"
    ):
        run(compose(overrides), overrides, home / "runs" / "same")


def test_a_test_set_has_a_plain_name(home):
    with pytest.raises(UserError, match=r"data\.further_tests\.in-domain: a test set's name is of"):
        plan(compose([with_test(home, "in-domain")]))

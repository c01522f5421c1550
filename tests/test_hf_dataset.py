"""Benchmark sets: rows with each set's own fields, read from local files by the same code."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nlg_distill.config import CONF, check, compose
from nlg_distill.data.corpus import Pair
from nlg_distill.data.hf_dataset import HubDataset, HubDialogues, HubPairs
from nlg_distill.data.hygiene import Cleaning, PublishedSplits
from nlg_distill.errors import UserError
from nlg_distill.session import Session
from nlg_distill.stages.corpus import load_splits
from nlg_distill.stages.plan import plan
from nlg_distill.store import Store

SETS = sorted(
    path.stem for path in (CONF / "data").glob("*.yaml") if "Hub" in path.read_text("utf-8")
)
PARTS = ("train", "validation", "test")
ARTICLE = "It rained. " * 150


def translation(split, i):
    return {"translation": {"de": f"Satz {i} der {split}.", "en": f" Sentence {i} \n of {split}."}}


ROWS = {  # a row as the set has it, and the pair that it is
    "iwslt14_de_en": (translation, "Satz {} der {}.", "Sentence {} of {}."),
    "wmt14_de_en": (translation, "Satz {} der {}.", "Sentence {} of {}."),
    "multi30k_en_de": (
        lambda split, i: {"en": f"A dog {i} of {split}.", "de": f"Ein Hund {i} der {split}."},
        "A dog {} of {}.",
        "Ein Hund {} der {}.",
    ),
    "xsum": (
        lambda split, i: {"document": ARTICLE, "summary": f"Rain {i} {split}.", "id": "1"},
        " ".join(["It rained."] * 150),
        "Rain {} {}.",
    ),
    "cnn_dailymail": (
        lambda split, i: {
            "article": f"({i}) -- {ARTICLE * 2}",
            "highlights": f"Rain {i} .\nMore {split} .",
            "id": "a",
        },
        "({}) -- " + " ".join(["It rained."] * 199),
        "Rain {} . More {} .",
    ),
    "dolly": (
        lambda split, i: {
            "instruction": "What fell?",
            "context": ["", "Rain  fell."][i % 2],
            "response": f"Rain {i} {split}",
            "category": "closed_qa",
        },
        None,
        "Rain {} {}",
    ),
}


def test_every_set_is_tried_here():
    assert {*ROWS, "daily_dialog"} == {*SETS}  # wmt14_en_de is the other direction


def write(folder, rows, ending):
    """One file for each split."""
    pytest.importorskip("datasets", reason="needs the extra hf")
    pyarrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    files = {}
    for split, members in rows.items():
        path = folder / f"{split}.{ending}"
        if ending == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(members), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in members))
        files[split] = str(path)
    return files


def composed(name, files):
    listing = ", ".join(f"{split}: {path}" for split, path in files.items())
    cfg = compose([f"data={name}", f"data.corpus.dataset.files={{{listing}}}"])
    check(cfg)
    return cfg


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", ROWS)
def test_the_fields_of_a_set_become_pairs(tmp_path, name, ending):
    make, source, target = ROWS[name]
    splits = ["train"] if name == "dolly" else PARTS
    rows = {split: [make(split, i) for i in range(2)] for split in splits}
    cfg = composed(name, write(tmp_path, rows, ending))
    pairs = list(instantiate(cfg.data.corpus, _convert_="all").read(tmp_path))
    expected = [(split, i) for split in ("test", "validation", "train") for i in range(2)]
    assert [pair.split for pair in pairs] == [s for s, _ in expected if s in splits]
    shown = [pair for pair in expected if pair[0] in splits]
    for pair, (split, i) in zip(pairs, shown, strict=True):
        assert pair.target == target.format(i, split)
        assert pair.source == (source or ["What fell?", "What fell? Rain fell."][i]).format(
            i, split
        )
        assert pair.place.endswith(f"{split}.{ending}:{i + 1}")


def test_the_other_direction_reads_the_other_field(tmp_path):
    rows = {split: [translation(split, 0)] for split in PARTS}
    cfg = composed("wmt14_en_de", write(tmp_path, rows, "parquet"))
    pair = next(iter(instantiate(cfg.data.corpus, _convert_="all").read(tmp_path)))
    assert (pair.source, pair.target) == ("Sentence 0 of test.", "Satz 0 der test.")
    assert cfg.data.corpus.dataset.instead == "tatoeba_en_de"


def test_a_conversation_becomes_its_replies(tmp_path):
    talk = ["Hi , Jim . ", " Hello .", "How are you ?"]
    rows = {s: [{"id": s, "utterances": talk, "acts": [1, 1, 2]}] for s in PARTS}
    cfg = composed("daily_dialog", write(tmp_path, rows, "parquet"))
    pairs = list(instantiate(cfg.data.corpus, _convert_="all").read(tmp_path))
    assert [(p.source, p.target, p.split) for p in pairs[:3]] == [
        ("Hi , Jim .", "Hello .", "test"),
        ("Hi , Jim . | Hello .", "How are you ?", "test"),
        ("Hi , Jim .", "Hello .", "validation"),
    ]
    assert pairs[0].group == pairs[1].group != pairs[2].group


# Splits


def test_published_splits_stay_whole_and_training_loses_what_stands_in_them(tmp_path):
    def pairs(texts):
        return [{"en": en, "de": de} for en, de in texts]

    rows = {
        "train": pairs([("a", "x"), ("b", "y"), ("c", "z"), ("c", "z"), ("d", "x")]),
        "validation": pairs([("c", "w"), ("e", "v")]),
        "test": pairs([("b", "y"), ("b", "y"), ("f", "u")]),
    }
    cfg = composed("multi30k_en_de", write(tmp_path, rows, "jsonl"))
    session = Session(tmp_path, {}, lambda key: None)
    folder = Store(tmp_path / "artifacts").get(plan(cfg).corpus, session)
    splits = {name: [(p.source, p.target) for p in s] for name, s in load_splits(folder).items()}
    assert splits == {
        "train": [("a", "x"), ("c", "z"), ("d", "x")],
        "validation": [("c", "w"), ("e", "v")],
        "test": [("b", "y"), ("b", "y"), ("f", "u")],
    }
    report = json.loads((folder / "hygiene.json").read_text())
    assert report["cleaning"] == {"raw": 10, "exact duplicates": 2}
    assert report["validation"]["share_a_text_with_train"] == 1


def test_published_splits_are_all_there():
    pairs = [Pair(split, split, "place:1", split=split) for split in PARTS]
    assert [p.source for members in PublishedSplits()(pairs).values() for p in members] == [*PARTS]
    with pytest.raises(UserError, match="nothing is in the split validation: name it in"):
        PublishedSplits()([pairs[0], pairs[2]])
    with pytest.raises(UserError, match=r"place:2 is in no published split, and .*text_files.yaml"):
        PublishedSplits()([*pairs, Pair("a", "b", "place:2")])


def test_where_nothing_is_published_in_parts_duplicates_go_as_before():
    cleaning = Cleaning(max_words=9, max_characters=99, drop_bad_lines=False)
    pairs = [Pair("a", "b"), Pair("a", "c"), Pair("a ", "b")]
    assert cleaning(pairs) == (pairs[:2], {"raw": 3, "exact duplicates": 1})


# Keys


def test_the_key_follows_revision_and_files_and_nothing_is_loaded_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("nlg_distill.data.hf_dataset._library", None)

    def key(*overrides):
        return plan(compose(["data=multi30k_en_de", *overrides])).corpus.key

    hub = key()
    assert key("data.corpus.dataset.revision=abc") != hub
    assert key("data.corpus.dataset.splits.train='train[:9]'") != hub
    paths = {split: tmp_path / f"{split}.jsonl" for split in PARTS}
    files = ", ".join(f"{split}: {path}" for split, path in paths.items())
    files = f"data.corpus.dataset.files={{{files}}}"
    with pytest.raises(UserError, match=r"there is no file .*train.jsonl"):
        key(files)
    for path in paths.values():
        path.write_text('{"en": "a", "de": "b"}\n')
    local = key(files)
    assert local == key(files) != hub
    paths["test"].write_text('{"en": "a", "de": "c"}\n')
    assert key(files) != local


# What cannot be read


def toy(**changes):
    settings = {"repository": "toy/toy", "splits": {"train": "train"}, "instead": "tatoeba_de_en"}
    return HubDataset(**(settings | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"dev": "dev"}}, "splits.dev: there are train, validation, test"),
        ({"files": {"dev": "a.jsonl"}}, "files.dev: there are train, validation, test"),
        ({"files": {"test": "a.jsonl"}}, "files has test, and splits train: give a file for each"),
        ({"files": {"train": "a.txt"}}, "a.txt must end in one of .parquet, .json, .jsonl, .csv"),
    ],
)
def test_splits_and_files_are_those_of_a_corpus(changes, message):
    with pytest.raises(UserError, match=message):
        toy(**changes)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (
            {"source": "a.c", "target": "b"},
            r"train.jsonl:1: the field a.c is not there: no c in 3",
        ),
        ({"source": "d", "target": "b"}, "the field d is not there: no d in a, b"),
        ({"source": ["b", "a"], "target": "b"}, "train.jsonl:1: a is no text, but 3"),
    ],
)
def test_a_field_that_is_not_there_or_no_text_is_named(tmp_path, corpus, message):
    files = write(tmp_path, {"train": [{"a": 3, "b": "text"}]}, "jsonl")
    with pytest.raises(UserError, match=message):
        list(HubPairs(dataset=toy(files=files), **corpus).read(tmp_path))


def test_what_looks_like_nothing_in_a_csv_is_text(tmp_path):
    pytest.importorskip("datasets", reason="needs the extra hf")
    (tmp_path / "train.csv").write_text("a,b\nNone,keiner\nNA,\n")
    dataset = toy(files={"train": str(tmp_path / "train.csv")})
    pairs = list(HubPairs(dataset=dataset, source="a", target="b").read(tmp_path))
    assert [(pair.source, pair.target) for pair in pairs] == [("None", "keiner"), ("NA", "")]


def test_a_null_is_an_empty_text(tmp_path):
    files = write(tmp_path, {"train": [{"a": None, "b": "x"}]}, "jsonl")
    (pair,) = HubPairs(dataset=toy(files=files), source="a", target="b").read(tmp_path)
    assert (pair.source, pair.target) == ("", "x")


def test_a_slice_of_a_split_is_one_of_a_file_too(tmp_path):
    files = write(tmp_path, {"train": [{"a": f"a{i}", "b": f"b{i}"} for i in range(5)]}, "jsonl")
    dataset = toy(files=files, splits={"train": "train[1:3]"})
    pairs = list(HubPairs(dataset=dataset, source="a", target="b").read(tmp_path))
    assert [pair.source for pair in pairs] == ["a1", "a2"]


def test_turns_are_a_list_of_texts(tmp_path):
    files = write(tmp_path, {"train": [{"said": "no list"}]}, "jsonl")
    with pytest.raises(UserError, match="said is no list of texts, but 'no list'"):
        list(HubDialogues(dataset=toy(files=files), said="said", turns=2).read(tmp_path))


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    pytest.importorskip("datasets", reason="needs the extra hf")
    path = tmp_path / "train.parquet"
    path.write_text("no parquet")
    corpus = HubPairs(dataset=toy(files={"train": str(path)}), source="a", target="b")
    with pytest.raises(UserError, match=r"train.parquet cannot be read"):
        list(corpus.read(tmp_path))


def test_slices_of_a_split_are_read(tmp_path):
    files = write(tmp_path, {"train": [{"a": f"a{i}", "b": f"b{i}"} for i in range(5)]}, "jsonl")
    assert files
    there = toy(repository=str(tmp_path), splits={"train": "train[1:3]"})
    pairs = list(HubPairs(dataset=there, source="a", target="b").read(tmp_path))
    assert [pair.source for pair in pairs] == ["a1", "a2"]


@pytest.mark.parametrize("name", [*SETS, "wmt14_en_de"])
def test_the_corpus_to_take_instead_has_the_same_task(name):
    cfg = compose([f"data={name}"])
    instead = compose([f"data={cfg.data.corpus.dataset.instead}"])
    assert instead.task == cfg.task
    assert "Hub" not in instead.data.corpus._target_


def test_without_a_hub_the_corpus_to_take_instead_is_named(tmp_path):
    pytest.importorskip("datasets", reason="needs the extra hf")
    corpus = OmegaConf.to_container(compose(["data=xsum"]).data.corpus)
    program = (
        "from hydra.utils import instantiate\n"
        "from pathlib import Path\n"
        "from nlg_distill.errors import UserError\n"
        f"corpus = instantiate({corpus}, _convert_='all')\n"
        f"try:\n    list(corpus.read(Path({str(tmp_path)!r})))\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("no hub gives EdinburghNLP/xsum (")
    assert "Take data=bbc_headlines, which is read out of a package" in done.stdout
    assert "data.corpus.dataset.files={train: ..., validation: ..., test: ...}" in done.stdout


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    corpus = HubPairs(dataset=toy(), source="a", target="b")
    with pytest.raises(UserError, match=r"need an extra of this project: pip install -e '.\[hf\]'"):
        list(corpus.read(CONF))

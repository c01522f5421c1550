"""The store: found again by what it was made from, published whole or not at all."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nlg_distill.environment import environment
from nlg_distill.errors import UserError
from nlg_distill.store import Stage, Store, metadata

TESTS = Path(__file__).parent


def build(config, parents, out, session):
    """Counts its calls beside the store, and fails when the session says so."""
    with (out.parents[1] / "calls").open("a") as calls:
        calls.write(f"{config['text']}\n")
    with (out / "attempts").open("a") as attempts:
        attempts.write("x")
    if session == "fail":
        raise RuntimeError("out of luck")
    inherited = "".join((path / "text").read_text() for path in parents.values())
    (out / "text").write_text(inherited + config["text"])
    (out / "text").chmod(0o600)
    (out / "work").mkdir(exist_ok=True)
    (out / "work" / "scratch").write_text("gone when published")


def stage(text="a", **parents):
    return Stage(
        name="note",
        version=1,
        config={"text": text},
        builder="test_store.build",
        parents=parents,
    )


def calls(root):
    return (root / "calls").read_text().split()


def test_the_key_follows_everything_that_changes_the_result():
    base = stage()
    assert base.key == stage().key
    others = [
        replace(base, name="other"),
        replace(base, version=2),
        stage("b"),
        stage(parent=stage("p")),
        stage(parent=stage("q")),
        stage(other_role=stage("p")),
    ]
    assert len({base.key, *(other.key for other in others)}) == 7


def test_the_key_does_not_follow_the_order_of_a_config():
    one, other = (
        replace(stage(), config={"a": 1, "b": 2}),
        replace(stage(), config={"b": 2, "a": 1}),
    )
    assert one.key == other.key


def test_parents_are_made_first_and_nothing_is_made_twice(tmp_path):
    child = stage("c", parent=stage("p"))
    path = Store(tmp_path).get(child, None)
    assert (path / "text").read_text() == "pc"
    assert Store(tmp_path).get(child, None) == path
    assert calls(tmp_path) == ["p", "c"]


def test_metadata_says_where_an_artifact_came_from(tmp_path):
    parent = stage("p")
    path = Store(tmp_path).get(stage("c", parent=parent), None)
    facts = metadata(path)
    assert facts["parents"] == {"parent": f"note/{parent.key}"}
    assert set(facts["checksums"]) == {"attempts", "config.yaml", "text"}
    assert facts["packages"]["torch"]
    assert not (path / "work").exists()


def test_the_commit_says_whether_the_code_was_changed_since(tmp_path, monkeypatch):
    def git(*command):
        author = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *command], cwd=tmp_path, check=True, capture_output=True)

    code = tmp_path / "environment.py"
    monkeypatch.setattr("nlg_distill.environment.__file__", str(code))
    assert environment()["git_commit"] is None
    code.write_text("")
    git("init")
    git("add", "environment.py")
    git("commit", "--message", "first")
    assert re.fullmatch("[0-9a-f]{40}", environment()["git_commit"])
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "table.md").write_text("a result is no change of code")
    assert re.fullmatch("[0-9a-f]{40}", environment()["git_commit"])
    (tmp_path / "pareto.svg").write_text("nor is a picture")
    assert re.fullmatch("[0-9a-f]{40}", environment()["git_commit"])
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "loss.py").write_text("new")
    assert re.fullmatch("[0-9a-f]{40}-dirty", environment()["git_commit"])
    (tmp_path / "src" / "loss.py").unlink()
    code.write_text("changed")
    assert re.fullmatch("[0-9a-f]{40}-dirty", environment()["git_commit"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["git_commit"] is None


def test_a_failed_stage_leaves_no_artifact_and_goes_on_in_its_folder(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="out of luck"):
        store.get(stage(), "fail")
    assert not store.has(stage())
    assert list(store.entries()) == []
    path = store.get(stage(), None)
    assert (path / "attempts").read_text() == "xx"


def test_metadata_of_an_attempt_killed_while_publishing_damages_nothing(tmp_path):
    store = Store(tmp_path)
    path = store.path(stage())
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(parents=True)
    (partial / "metadata.json").write_text("{}")
    store.get(stage(), None)
    assert store.damage(path) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "text").write_text("A"), "text does not have its checksum"),
        (lambda path: (path / "text").unlink(), "text is missing"),
        (lambda path: (path / "metadata.json").write_text("{"), "metadata.json cannot be read"),
    ],
)
def test_a_damaged_artifact_is_set_aside_and_made_again(tmp_path, damage, message, capsys):
    store = Store(tmp_path)
    path = store.get(stage(), None)
    damage(path)
    assert message in str(store.damage(path))
    assert (store.get(stage(), None) / "text").read_text() == "a"
    assert calls(tmp_path) == ["a", "a"]
    assert message in " ".join(capsys.readouterr().err.split())
    assert len(list(path.parent.glob("*.damaged-*"))) == 1
    assert list(store.entries()) == [path]


def test_eight_processes_that_need_one_artifact_make_it_once(tmp_path):
    program = (
        "import sys, pathlib; from test_store import stage; from nlg_distill.store import Store; "
        "Store(pathlib.Path(sys.argv[1])).get(stage('c', parent=stage('p')), None)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=TESTS) for _ in range(8)]
    assert [process.wait() for process in running] == [0] * 8
    assert sorted(calls(tmp_path)) == ["c", "p"]


def test_a_store_can_be_shared(tmp_path):
    path = Store(tmp_path / "store").get(stage(), None)
    (tmp_path / "new").touch()
    usual = (tmp_path / "new").stat().st_mode
    assert {(path / name).stat().st_mode for name in ("text", "metadata.json")} == {usual}


def test_changed_code_is_told_with_what_to_remove(tmp_path, monkeypatch, capsys):
    own = tmp_path / "own_losses.py"
    own.write_text("def loss():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = {"loss": [{"_target_": "own_losses.loss"}], "size": {"_target_": "torch.nn.Linear"}}
    first = replace(stage(), config={"text": "a", **config})
    last, other = stage("b", earlier=first), stage("c")
    store = Store(tmp_path / "store")
    store.get(last, None), store.get(other, None)
    assert {*metadata(store.path(first))["code"]} == {"own_losses.loss"}, "installed code is not"
    store.warn_of_changed_code([last, other])
    assert capsys.readouterr().err == ""
    own.write_text("def loss():\n    return 2\n")
    store.warn_of_changed_code([last, other])
    told = capsys.readouterr().err
    assert "the code of own_losses.loss has changed" in told
    assert told.endswith(f"nlg-distill store rm {first.key} {last.key}\n")
    store.remove([first.key, last.key], force=False)
    store.warn_of_changed_code([last, other])
    assert capsys.readouterr().err == ""


def test_what_others_were_made_from_is_removed_only_by_force(tmp_path):
    store = Store(tmp_path)
    parent, child = stage("p"), stage("c", parent=stage("p"))
    store.get(child, None)
    with pytest.raises(UserError, match=f"was made from {parent.key}"):
        store.remove([parent.key], force=False)
    assert len(list(store.entries())) == 2
    store.remove([parent.key, child.key], force=False)
    assert list(store.entries()) == []
    store.get(child, None)
    store.remove([parent.key], force=True)
    assert list(store.entries()) == [store.path(child)]


def test_removing_what_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no artifact 0123"):
        Store(tmp_path).remove(["0123"], force=False)


def test_a_folder_that_is_no_artifact_is_named(tmp_path):
    with pytest.raises(UserError, match="is not an artifact"):
        metadata(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"stage": "note"}))
    assert metadata(tmp_path)["stage"] == "note"

"""At the scale of its paper, every row of a table starts: a step, decoding and scores.

Rows of the sets' own form, in local files, stand for the hub, and small checkpoints at random for
those that tables name. Of models of ours the constructors are called at the paper's size; those
that take the step are narrower.
"""

import json

import pytest
from hf_checkpoints import make_whole

from nlg_distill.config import CONF, compose
from nlg_distill.run import run
from nlg_distill.tables.reproduce import _plan_row
from nlg_distill.tables.spec import load_spec

PAPER = [
    path.stem
    for path in sorted((CONF / "table").glob("*.yaml"))
    if load_spec(path).paper is not None
]
assert len(PAPER) >= 4, PAPER
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")


def sentence(i, said):
    return f"{NUMBERS[i % 7]} and {NUMBERS[i // 7]} {said}"


SETS = {  # a row of each set, and what its few texts need
    "wmt14_en_de": (
        lambda i: {"translation": {"en": sentence(i, "walk."), "de": sentence(i, "gehen.")}},
        ["data.tokenizer.vocab_size=28"],
    ),
    "dolly": (
        lambda i: {
            "instruction": sentence(i, "what?"),
            "context": "",
            "response": sentence(i, "."),
        },
        ["data.splitting.validation=4", "data.splitting.test=4"],
    ),
    "xsum": (lambda i: {"document": sentence(i, "came."), "summary": sentence(i, "came.")}, []),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the checkpoints and the files are."""
    pytest.importorskip("datasets", reason="needs the extra hf")
    folder = tmp_path_factory.mktemp("home")
    for name in ("gpt2", "gpt2-xl"):
        make_whole("gpt2", folder / name, n_positions=2000)
    layers = {"encoder_layers": 4, "decoder_layers": 4}
    bart = folder / "facebook" / "bart-large-xsum"
    make_whole("bart", bart, max_position_embeddings=2000, **layers)
    for name, (row, _) in SETS.items():
        for split, numbers in {"train": (0, 40), "validation": (40, 44), "test": (44, 48)}.items():
            lines = [json.dumps(row(i)) + "\n" for i in range(*numbers)]
            (folder / f"{name}_{split}.jsonl").write_text("".join(lines))
    return folder


def local(home, cfg):
    """Overrides: one step on the local files of the set that a config names."""
    dataset = cfg.data.corpus.dataset
    name = next(name for name in SETS if name.split("_")[0] in dataset.repository)
    files = ", ".join(f"{split}: {home}/{name}_{split}.jsonl" for split in dataset.splits)
    chosen = [f"data.corpus.dataset.files={{{files}}}", *SETS[name][1], "logger=none"]
    for training in ("student_training", "teacher_training"):
        if "max_steps" in cfg[training]:
            chosen += [f"{training}.max_steps=1", f"{training}.validate_every=1"]
    for model in ("student_model", "teacher_model"):
        if "embedding_size" in cfg[model]:
            chosen += [f"{model}.embedding_size=24", f"{model}.hidden_size=24"]
    return [*chosen, f"paths.artifacts={home}/artifacts"]


@pytest.mark.slow
@pytest.mark.parametrize("table", PAPER)
@pytest.mark.filterwarnings("ignore:at step .* text has collapsed")
def test_every_row_starts(home, table, monkeypatch):
    monkeypatch.chdir(home)
    spec = load_spec(CONF / "table" / f"{table}.yaml", "paper", seeds=1)
    usual = load_spec(CONF / "table" / f"{table}.yaml")
    keys = set()
    for row in spec.rows:
        (published,) = _plan_row(spec, row, ())
        assert published.cfg.data != compose(usual.row_overrides(row)).data
        keys.add(published.stages.scores.key)
        (planned,) = _plan_row(spec, row, local(home, published.cfg))
        result = run(planned.cfg, planned.overrides, home / "runs" / table / row.row)
        trained = "max_steps" in planned.cfg[f"{planned.cfg.stage}_training"]
        assert result["steps"] == trained, row
    assert len(keys) == len(spec.rows)

"""Every family of models, task, targets policy and loss, together.

The axes are read from conf. What goes together is for the project to say: a `UserError` before
training refuses it, and no more than `impossible` says is refused. What is not refused trains two
steps and decodes. A task is a corpus and metrics, which no loss looks at: the tasks that write take
turns, so that each meets every policy and every family, and all losses of a cell are one sum.
"""

import csv
import inspect
import itertools
import math
import re
from functools import partial

import pytest
import torch
from hf_checkpoints import CAUSAL, SEQ2SEQ, make_whole
from hydra.utils import get_object
from omegaconf import OmegaConf
from test_run import write_corpus

from nlg_distill.config import CONF, check, compose
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.rehearsal import rehearse
from nlg_distill.run import run
from nlg_distill.stages.plan import plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the student starts at random"),
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses"),
]


def _files(group):
    files = sorted((CONF / group).glob("*.yaml"))
    assert files, group
    return {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in files}


def _families():
    """The first file of each class that conf/model names."""
    first = {}
    for name, cfg in _files("model").items():
        first.setdefault(get_object(cfg["_target_"]), name)
    return {name: kind for kind, name in first.items() if inspect.isclass(kind)}


MODELS, TASKS, LOSSES = _files("model"), _files("task"), _files("loss")
FAMILIES, TARGETS = _families(), list(_files("targets"))
SIZES = {"num_heads": 2, "feed_forward_size": 24, "num_layers": 2, "dropout": 0.0}
WRITING = [name for name, task in TASKS.items() if task.get("writes", True)]
CHECKPOINTS = {False: CAUSAL, True: [name for name in SEQ2SEQ if name != "t5_untied"]}
WIDTH = 12  # of the checkpoints


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two small corpora, with and without sources, a checkpoint of each kind, and a store."""
    folder = tmp_path_factory.mktemp("home")
    path = write_corpus(folder)
    header, *rows = path.read_text().splitlines()
    rows = [row.split("\t") for row in rows[::8]]
    for name, kept in {"pairs": rows, "texts": [["", target] for _, target in rows]}.items():
        lines = [header, *("\t".join(row) for row in kept)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(2)
    for name in itertools.chain(*CHECKPOINTS.values()):
        longest = "n_positions" if name == "gpt2" else "max_position_embeddings"
        make_whole(name, folder / name, **({} if name == "t5" else {longest: 400}))
    return folder


def of_family(home, family, number):
    """Both models of one family, small; of checkpoints, another one by number."""
    if "path" in MODELS[family]:
        known = CHECKPOINTS[FAMILIES[family].ENCODER_DECODER]
        path = home / known[number % len(known)]
        chosen = ["training@teacher_training=none", "tokenizer@data.tokenizer=hf"]
        chosen.append(f"data.tokenizer.path={path}")
        for role in ("teacher", "student"):
            chosen += [f"model@{role}_model={family}", f"{role}_model.path={path}"]
            chosen.append(f"{role}_model.attentions=true")
        return chosen
    chosen = []
    for role, width in {"teacher": 16, "student": 8}.items():
        sizes = SIZES | {"embedding_size": width, "hidden_size": width}
        given = {key: size for key, size in sizes.items() if key in MODELS[family]}
        chosen.append(f"model@{role}_model={family}")
        chosen += [f"{role}_model.{key}={size}" for key, size in given.items()]
    return chosen


def overrides_of(losses, *, home, family, number, task, targets):
    """A run of one cell of the grid with these losses."""
    writes, pretrained = task in WRITING, "path" in MODELS[family]
    chosen = [
        "data=text_files",
        f"task={task}",
        f"data.corpus.path={home}/{'pairs' if writes else 'texts'}.tsv",
        f"+data.cleaning.without_source={not writes}",
        "data.splitting.validation=4",
        "data.splitting.test=4",
        *of_family(home, family, number),
        f"targets={targets}",
        f"loss=[{','.join(losses)}]",
        "logger=csv",
        "trainer.log_every_n_steps=1",
        "scoring.beam_sizes=[1]",
        *(f"paths.{name}={home}/{name}" for name in ("artifacts", "downloads", "runs")),
    ]
    steps = ["max_steps=2", "validate_every=2", "threads=1", "patience=9"]
    steps.append("max_tokens=300")  # what a random teacher writes is long
    for role in ["student"] if pretrained else ["teacher", "student"]:
        chosen += [f"{role}_training.{setting}" for setting in steps]
    chosen += [f"loss.{name}.k=8" for name in losses if "k" in LOSSES[name][name]]  # of few pieces
    if not pretrained:
        return [*chosen, f"data.tokenizer.vocab_size={44 if writes else 26}"]
    for name in losses:  # nothing says how wide a checkpoint is
        widths = [key for key, value in LOSSES[name][name].items() if "hidden_size" in str(value)]
        chosen += [f"loss.{name}.{key}={WIDTH}" for key in widths]
    return chosen


def refusal(overrides):
    """Why the project refuses this run before anything starts; None if it does not."""
    try:
        cfg = compose(overrides)
        check(cfg)
        rehearse(cfg)
        plan(cfg, overrides)
    except UserError as error:
        return str(error)
    return None


def what_is_taken(make):
    """The losses of a run that `make` gives the overrides of, and why the others are refused.

    A refusal that is no loss's own stands under `any`, and then nothing is taken.
    """
    losses, refused = list(LOSSES), {}
    while losses and (why := refusal(make(losses))):
        name = re.match(r"(?:loss\.)?(\w*)", why)[1]
        if name not in losses:
            return [], refused | {"any": why}
        losses.remove(name)
        refused[name] = why
    return losses, refused


def train(overrides, losses, folder):
    """Runs it: every loss was a number when it was counted, and text was written."""
    cfg = compose(overrides)
    result = run(cfg, overrides, folder)
    assert result["steps"] == 2
    with (folder / "curves" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in losses:
        values = [float(row[f"train/{name}"]) for row in rows if row.get(f"train/{name}")]
        assert values, f"{name} was never counted"
        assert all(map(math.isfinite, values)), (name, values)
    if cfg.task.get("writes", True):
        assert result["beam_1"]["source_words_per_second"] > 0
    else:
        (text,) = generate_texts(folder, ["one two"], chosen_writing(beam=1), max_tokens=4)
        assert text


def impossible(family, targets):
    """The losses that are refused: of drawn text alone, and of values, which transformers keeps."""
    of_drawn = set() if targets == "teacher_mixed" else {"policy_gradient"}
    return of_drawn | ({"value_relation_kl"} if "path" in MODELS[family] else set())


DONE = {}  # task, targets and loss of what was trained, by family


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_refused_trains_and_decodes(home, family):
    """Every policy with every loss, tasks that write in turns; every task with gold text."""
    first, found = list(FAMILIES).index(family), set()

    def settle(number, task, targets):
        make = partial(
            overrides_of, home=home, family=family, number=number, task=task, targets=targets
        )
        losses, refused = what_is_taken(make)
        assert {*refused} == impossible(family, targets), refused
        train(make(losses), losses, home / "runs" / f"{family}_{task}_{targets}")
        found.update((task, targets, name) for name in losses)

    for number, targets in enumerate(TARGETS):
        task = WRITING[(first + number) % len(WRITING)]
        settle(number, task, targets)
    done = {task for task, targets, _ in found if targets == "gold"}
    for task in sorted({*TASKS} - done):
        settle(first, task, "gold")
    DONE[family] = found


def test_nothing_is_refused_everywhere():
    if {*DONE} != {*FAMILIES}:
        pytest.skip("looks at what the other tests of this file trained")
    found = set().union(*DONE.values())
    assert {name for _, _, name in found} == {*LOSSES}
    pairs = {(task, targets) for task, targets, _ in found}
    assert len(FAMILIES) >= len(WRITING), "too few turns for every task to meet every policy"
    assert pairs >= {*itertools.product(WRITING, TARGETS)}
    assert pairs >= {(task, "gold") for task in TASKS}

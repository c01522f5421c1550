"""Whole runs in which teacher and student have tokenizers of their own."""

import re

import pytest
import torch
import transformers
from hf_checkpoints import make_whole
from safetensors.torch import load_file
from test_run import settings, train, write_corpus

from nlg_distill.data.batch import Batch
from nlg_distill.errors import UserError
from nlg_distill.stages.tokenizer import load_tokenizer
from nlg_distill.teachers.aligned import AlignedTeacher
from nlg_distill.teachers.live import LiveTeacher

pytestmark = pytest.mark.slow

OWN = ["tokenizer@teacher_tokenizer=sentencepiece", "teacher_tokenizer.vocab_size=36"]
BOTH = "loss=[nll,span_kl,sorted_wasserstein]"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    lines = write_corpus(folder).read_text().splitlines()
    (folder / "numbers.tsv").write_text("\n".join([lines[0], *lines[1::3]]) + "\n")
    torch.manual_seed(2)
    make_whole("gpt2", folder / "gpt2", n_positions=128)
    return folder


def weights(home, result):
    return load_file(home / "artifacts" / result["artifacts"]["model"] / "model.safetensors")


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ((44, 36), [BOTH]),
        ((36, 44), [BOTH, "teacher=ensemble", "teacher.seeds=[1,2]"]),
        ((36, 44), ["loss=[nll,span_kl]", "targets=teacher_beam"]),
        ((36, 44), ["loss=[nll,forward_kl,sampled_kl]"]),
        ((44, 36), ["loss=[nll,sampled_kl]", "teacher=cached", "teacher.mode=samples"]),
        (
            (36, 44),
            [BOTH, "model@student_model=gpt_tiny", "+wrapper@loss.span_kl=cosine_anneal"],
        ),
    ],
)
def test_a_student_learns_from_a_teacher_with_another_tokenizer(home, sizes, chosen, capfd):
    left_out = ["vocab_size"] + ["student_model.dropout"] * ("gpt_tiny" in " ".join(chosen))
    ours = [o for o in settings(home) if not any(part in o for part in left_out)]
    ours += [f"data.tokenizer.vocab_size={sizes[0]}", OWN[0]]
    ours.append(f"teacher_tokenizer.vocab_size={sizes[1]}")
    folder = home / "runs" / re.sub(r"\W+", "_", "_".join(chosen))
    result = train([*ours, *chosen], folder)
    assert result["steps"] == 2
    kept = [home / "artifacts" / result["artifacts"][role] for role in ("model", "teacher")]
    assert tuple(load_tokenizer(artifact).vocab_size for artifact in kept) == sizes
    said = " ".join(capfd.readouterr().err.split())
    share = re.search(r"overlap: (\d+) pieces .* both tokenizers cut them, at (\d+)% of the", said)
    assert share is not None, said
    assert int(share[1]) == sizes[0]
    assert int(share[2]) == 100 if sizes[0] > sizes[1] else 20 < int(share[2]) < 100
    lines = (folder / "curves" / "metrics.csv").read_text().splitlines()
    columns = lines[0].split(",")
    for name in [name for name in ("span_kl", "sorted_wasserstein") if name in chosen[0]]:
        column = columns.index(f"train/gradient_share/{name}")
        shares = [cell for line in lines[1:] if (cell := line.split(",")[column])]
        assert shares
        assert all(0 < float(share) < 1 for share in shares)


def test_a_checkpoint_teaches_a_student_with_its_own_pieces(home):
    """Another language model's tokens, byte by byte, with a prompt before the text."""
    ours = [o for o in settings(home) if "teacher_" not in o]
    teacher = ["tokenizer@teacher_tokenizer=hf", f"teacher_tokenizer.path={home}/gpt2"]
    teacher += ["training@teacher_training=none", "model@teacher_model=hf_causal"]
    teacher += [
        f"teacher_model.path={home}/gpt2",
        "teacher_tokenizer.prompt='German: {source} So:'",
    ]
    result = train([*ours, *teacher, BOTH], home / "runs" / "checkpoint")
    assert result["steps"] == 2
    own = load_tokenizer(home / "artifacts" / result["artifacts"]["teacher"])
    plain = transformers.AutoTokenizer.from_pretrained(home / "gpt2")
    assert own.encode_sources(["eins"]) == plain(["German: eins So:"])["input_ids"]


def test_a_teacher_with_the_students_pieces_reads_its_own_prompt(home, capfd):
    ours = [o for o in settings(home) if "teacher_" not in o and "vocab_size" not in o]
    ours += ["tokenizer@data.tokenizer=hf", f"data.tokenizer.path={home}/gpt2"]
    teacher = ["tokenizer@teacher_tokenizer=hf", f"teacher_tokenizer.path={home}/gpt2"]
    teacher += ["training@teacher_training=none", "model@teacher_model=hf_causal"]
    teacher += [f"teacher_model.path={home}/gpt2", "teacher_tokenizer.prompt='So: {source}'"]
    train([*ours, *teacher, "loss=[nll,span_kl]"], home / "runs" / "own_prompt")
    assert "at 100% of the" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("source", ["live", "cached_spans"])
def test_texts_beyond_the_teachers_context_are_refused_before_the_first_step(home, source):
    """Three words are few pieces for the student, and as many bytes as letters for this teacher."""
    make_whole("gpt2", home / "short", n_positions=8)
    ours = [o for o in settings(home) if "teacher_" not in o]
    teacher = ["tokenizer@teacher_tokenizer=hf", f"teacher_tokenizer.path={home}/short"]
    teacher += ["training@teacher_training=none", "model@teacher_model=hf_causal"]
    teacher += [f"teacher_model.path={home}/short", "loss=[nll,span_kl]", f"teacher={source}"]
    with pytest.raises(UserError, match=r"sources with texts of \d+ tokens are more than the 8"):
        train([*ours, *teacher], home / "runs" / "short")


@pytest.mark.parametrize(
    ("loss", "stored"),
    [
        ("span_kl", ["teacher=cached_spans"]),
        ("forward_kl", ["teacher=cached", "teacher.k=44", "teacher.quantised=false"]),
    ],
)
def test_a_cache_stands_for_the_live_teacher(home, monkeypatch, loss, stored):
    """The same weights, and the second student needs no teacher, its tokens or its texts."""
    plain = ["trainer.precision=32-true", "student_training.schedule.warmup_steps=1"]
    sgd = ["_target_=torch.optim.SGD", "lr=1.0", "weight_decay=0"]
    plain += [f"student_training.optimizer.{setting}" for setting in sgd]
    plain += ["~student_training.optimizer.betas"]
    overrides = [*settings(home), *OWN, f"loss=[nll,{loss}]", *plain]
    live = train(overrides, home / "runs" / f"live_{loss}")
    cached = train([*overrides, *stored], home / "runs" / f"cached_{loss}")
    baseline = train([*overrides, "loss=[nll]"], home / "runs" / f"nll_{loss}")
    assert live["artifacts"]["model"] != cached["artifacts"]["model"]
    expected, other = weights(home, live), weights(home, baseline)
    torch.testing.assert_close(weights(home, cached), expected, rtol=0, atol=1e-5)
    assert max((other[name] - expected[name]).abs().max() for name in expected) > 1e-3

    def forbidden(self, batch: Batch):
        raise AssertionError("the teacher ran")

    monkeypatch.setattr(LiveTeacher, "__call__", forbidden)
    monkeypatch.setattr(AlignedTeacher, "__call__", forbidden)
    again = train([*overrides, *stored, "seed=2"], home / "runs" / f"again_{loss}")
    assert again["trained_now"]

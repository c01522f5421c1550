"""What the tests of losses share: every configured term, and two sides to compare."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from nlg_distill.data.batch import Batch
from nlg_distill.losses import DivergenceTerm, FeatureTerm, SpanTerm
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal

CONF = Path(__file__).parents[1] / "conf" / "loss"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
VOCAB = 7


def configured(name, student_size=8, teacher_size=8, **changes):
    """The term of `conf/loss/<name>.yaml`; the changes are of the term's own settings."""
    sizes = {
        "student_model": {"hidden_size": student_size},
        "teacher_model": {"hidden_size": teacher_size},
        "targets": {"alpha": 0.2},
    }
    cfg = OmegaConf.merge(sizes, OmegaConf.load(CONF / f"{name}.yaml"), {name: changes})
    return instantiate(cfg[name], _convert_="all")


def settings_of(name):
    """What the config gives to the loss function."""
    loss = OmegaConf.load(CONF / f"{name}.yaml")[name].loss
    return {key: value for key, value in loss.items() if not key.startswith("_")}


DIVERGENCES = [name for name in NAMES if isinstance(configured(name), DivergenceTerm)]
FEATURES = [name for name in NAMES if isinstance(configured(name), FeatureTerm)]
SPANS = [name for name in NAMES if isinstance(configured(name), SpanTerm)]
assert len(DIVERGENCES) > 12, DIVERGENCES
assert len(FEATURES) >= 4, FEATURES
assert {*DIVERGENCES, *FEATURES, *SPANS, "nll", "policy_gradient"} == {*NAMES}


def output(logits):
    """A model that says just these logits."""
    return ModelOutput(logits, nn.Identity())


def batch_of(labels):
    """A batch of which only the labels matter."""
    rows = len(labels)
    return Batch(
        source_ids=torch.zeros(rows, 1, dtype=torch.long),
        source_mask=torch.ones(rows, 1, dtype=torch.bool),
        decoder_input_ids=torch.zeros_like(labels),
        labels=labels,
        example_ids=torch.arange(rows),
        authors=torch.zeros(rows, dtype=torch.long),
    )


def labels_like(logits):
    """The same labels every time, all of them counted."""
    count = logits.shape[0] * logits.shape[1]
    return (torch.arange(count) * 3 % logits.shape[-1]).view(logits.shape[:2])


def values(term, student, teacher, labels=None):
    """The term per token; what it draws is the same every time."""
    torch.manual_seed(5)
    batch = batch_of(labels_like(student) if labels is None else labels)
    return term.per_token(output(student), TeacherSignal(output(teacher)), batch)


def summed(term, student, teacher, labels):
    """The term as the training sees it."""
    torch.manual_seed(5)
    return term(output(student), TeacherSignal(output(teacher)), batch_of(labels))


def sides(rows=3, time=4, dtype=torch.float32):
    """Random logits of a student and a teacher."""
    generator = torch.Generator().manual_seed(11)
    shape = (2, rows, time, VOCAB)
    return tuple((2 * torch.randn(shape, generator=generator, dtype=torch.double)).to(dtype))

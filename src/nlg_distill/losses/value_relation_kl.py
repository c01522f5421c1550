"""KL of how the values of attention are related to each other.

Wang, Wei, Dong, Bao, Yang and Zhou, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic
Compression of Pre-Trained Transformers", 2020, https://arxiv.org/abs/2002.10957, the part
"Self-Attention Value-Relation Transfer". Relation heads: Wang, Bao, Huang, Dong and Wei,
"MiniLMv2", 2021, https://arxiv.org/abs/2012.15828.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nlg_distill.distributions import at_least_float32, kl, log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses.features import FeatureTerm


def value_relation_kl(
    student_values: Float[Tensor, "batch student_heads keys student_width"],
    teacher_values: Float[Tensor, "batch teacher_heads keys teacher_width"],
    mask: Bool[Tensor, "batch keys"],
    *,
    relation_heads: int | None = None,
) -> Float[Tensor, "batch keys"]:
    r"""Per-key $\frac{1}{A} \sum_a \mathrm{KL}(R^T_a \,\|\, R^S_a)$ over heads, in nats.

    $R = \mathrm{softmax}(V V^\top / \sqrt d)$: how much each position's value is like every
    other's. Widths may differ, since only products within one model are compared. Numbers of heads
    may differ where `relation_heads` says into how many both are cut anew.

    Deviation: the paper also divides by the number of positions, which here the one reduction does.

    Args:
        student_values: the student's values; gradients flow through these.
        teacher_values: the teacher's, at the same positions.
        mask: True on text; what is padding is related to nothing.
        relation_heads: heads after the values of all heads are joined and cut anew; it divides
            both joined widths. As they are if not given.

    Returns:
        One non-negative value for each position, in float32, not reduced; 0 on padding.

    Raises:
        UserError: if the numbers of heads differ, or `relation_heads` is not positive or
            divides not both widths.
    """
    if relation_heads is not None:
        if relation_heads < 1:
            raise UserError(f"relation_heads must be at least 1, got {relation_heads}")
        student_values = _cut(student_values, relation_heads, "student")
        teacher_values = _cut(teacher_values, relation_heads, "teacher")
    if student_values.shape[1] != teacher_values.shape[1]:
        raise UserError(
            f"value_relation_kl compares head with head, but the student has "
            f"{student_values.shape[1]} and the teacher {teacher_values.shape[1]}: set "
            f"relation_heads to a number that divides both widths, such as 1"
        )
    relations = kl(_relations(teacher_values, mask), _relations(student_values, mask))
    return relations.mean(dim=1).masked_fill(~mask, 0.0)


def _cut(
    values: Float[Tensor, "batch heads keys width"], heads: int, whose: str
) -> Float[Tensor, "batch relation_heads keys relation_width"]:
    joined = values.transpose(1, 2).flatten(2)  # [batch, keys, heads * width]
    if joined.shape[-1] % heads:
        raise UserError(
            f"relation_heads={heads} must divide the {whose}'s joined width {joined.shape[-1]}"
        )
    return joined.reshape(*joined.shape[:2], heads, -1).transpose(1, 2)


def _relations(
    values: Float[Tensor, "batch heads keys width"], mask: Bool[Tensor, "batch keys"]
) -> Float[Tensor, "batch heads keys keys"]:
    """Log-probabilities of the relations, among what is text, also under autocast in float32."""
    exact = at_least_float32(values)
    with torch.autocast(values.device.type, enabled=False):
        scores = exact @ exact.transpose(-1, -2) / math.sqrt(exact.shape[-1])
    hidden = ~mask[:, None, None] & mask[:, None, :, None]  # a row of padding stays finite
    return log_probs(scores.masked_fill(hidden, float("-inf")))


class ValueRelationTerm(FeatureTerm):
    """KL of value relations; values of `encoder` and `cross` stand at source positions."""

    kind = "values"
    at_source = ("encoder", "cross")

    def compare(
        self,
        index: int,
        student: Tensor,
        teacher: Tensor,
        mask: Bool[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """The KL at every position."""
        return self.loss(student, teacher, mask)

"""KL of attention: which positions each position looks at.

Wang, Wei, Dong, Bao, Yang and Zhou, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic
Compression of Pre-Trained Transformers", 2020, https://arxiv.org/abs/2002.10957, the part
"Self-Attention Distribution Transfer". TinyBERT (https://arxiv.org/abs/1909.10351) takes the
squared error of scores instead.
"""

from jaxtyping import Bool, Float
from torch import Tensor, finfo

from nlg_distill.distributions import at_least_float32, kl
from nlg_distill.errors import UserError
from nlg_distill.losses.features import FeatureTerm


def attention_kl(
    student_rows: Float[Tensor, "batch student_heads queries keys"],
    teacher_rows: Float[Tensor, "batch teacher_heads queries keys"],
    *,
    average_heads: bool = False,
) -> Float[Tensor, "batch queries"]:
    r"""Per-query $\frac{1}{A} \sum_a \mathrm{KL}(A^T_a \,\|\, A^S_a)$ over heads, in nats.

    Rows are probabilities over the keys, 0 where a key is masked. Heads are compared one to one,
    or, with `average_heads`, as the mean of the teacher's against the mean of the student's, which
    is a distribution too and needs no equal number.

    Deviation: the paper also divides by the number of queries, which here the one reduction does.

    Args:
        student_rows: the student's attention; gradients flow through these.
        teacher_rows: the teacher's, over the same keys.
        average_heads: compare means over heads.

    Returns:
        One non-negative value for each query, in float32, not reduced and not masked.

    Raises:
        UserError: if the numbers of heads differ and are not averaged.
    """
    if average_heads:
        student_rows, teacher_rows = (rows.mean(1, True) for rows in (student_rows, teacher_rows))
    if student_rows.shape[1] != teacher_rows.shape[1]:
        raise UserError(
            f"attention_kl compares head with head, but the student has {student_rows.shape[1]} "
            f"and the teacher {teacher_rows.shape[1]}: set average_heads=true"
        )
    return kl(_log(teacher_rows), _log(student_rows)).mean(dim=1)


def _log(rows: Float[Tensor, "*rows keys"]) -> Float[Tensor, "*rows keys"]:
    """Logs in float32 at least; that of 0 is low but finite, so that 0 log 0 is 0.

    Normalised anew: rows that were rounded to bfloat16 sum to 1 no more, and their KL can be
    negative.
    """
    exact = at_least_float32(rows)
    return exact.clamp(min=finfo(exact.dtype).tiny).log().log_softmax(dim=-1)


class AttentionTerm(FeatureTerm):
    """KL of attention rows; those of `cross` and the decoder have target positions as queries.

    An encoder-decoder and a decoder-only model look at different positions, and are refused.
    """

    kind = "attentions"
    at_source = ("encoder",)

    def compare(
        self,
        index: int,
        student: Tensor,
        teacher: Tensor,
        mask: Bool[Tensor, "batch positions"],
    ) -> Float[Tensor, "batch positions"]:
        """The KL at every query.

        Raises:
            UserError: if the two do not look at the same positions.
        """
        if student.shape[-1] != teacher.shape[-1]:
            ours, theirs = list(self.layers.items())[index]
            raise UserError(
                f"layers: the student's {ours} and the teacher's {theirs} do not look at the same "
                f"positions: a decoder-only model looks at source and text at once, an "
                f"encoder-decoder at each by itself. Give both roles a model of one kind, or "
                f"compare hidden states, as in loss=[nll,hidden_mse]"
            )
        return self.loss(student, teacher)

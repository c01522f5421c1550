"""Negative log-likelihood of the labels, with label smoothing.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016,
https://arxiv.org/abs/1512.00567, section 7.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from nlg_distill.data.batch import IGNORE_INDEX
from nlg_distill.errors import UserError


def nll(
    student_logits: Float[Tensor, "*tokens vocab"],
    labels: Int[Tensor, "*tokens"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, "*tokens"]:
    r"""Per-token $-\sum_v u(v) \log p_S(v)$, in nats.

    Here $u = (1-\epsilon)\,\delta_y + \epsilon / V$. Above $\epsilon = 0$ this is a cross-entropy
    against $u$, whose smallest value is the entropy of $u$, not 0. Computed in float32.

    Args:
        student_logits: unnormalised scores of the student.
        labels: the token to predict at each position.
        label_smoothing: $\epsilon$ in [0, 1).

    Returns:
        One value per token, not reduced; 0 where the label is `IGNORE_INDEX`.

    Raises:
        UserError: if `label_smoothing` is outside [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    values = cross_entropy(
        student_logits.float().flatten(0, -2),
        labels.flatten(),
        reduction="none",
        ignore_index=IGNORE_INDEX,
        label_smoothing=label_smoothing,
    )
    return values.view(labels.shape)

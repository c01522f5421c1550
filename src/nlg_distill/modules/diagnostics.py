"""What a training step tells beside its loss."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nlg_distill.data.batch import Batch
from nlg_distill.distributions import entropy, log_probs
from nlg_distill.models.output import ModelOutput
from nlg_distill.teachers.signal import TeacherSignal

Positions = Int[Tensor, "tokens 2"]  # text and time
PerToken = dict[str, Float[Tensor, " known"]]

TOP_K = 32
AT_ONCE = 256  # positions: what is found on the way stays small beside a step's own memory
NO_OP_SHARE, NO_OP_STEPS = 0.01, 100


@torch.no_grad()
def distributions(
    student: ModelOutput, signal: TeacherSignal, batch: Batch
) -> dict[str, Float[Tensor, ""]]:
    """Means over target positions: entropies in nats, agreement and mass in [0, 1].

    `top_1_agreement` is how often both find the same token most probable, `top_k_mass` what the
    teacher gives its `TOP_K` largest tokens, or those that its cache holds: where its distribution
    is known, as it is everywhere unless its tokens are others.
    """
    parts = [
        _of_students(student, batch, where) | _of_both(student, signal, where)
        for where in torch.split(batch.target_mask.nonzero(), AT_ONCE)
    ]
    return {name: torch.cat([part[name] for part in parts]).mean() for name in parts[0]}


def _of_students(student: ModelOutput, batch: Batch, where: Positions) -> PerToken:
    rows, times = where.unbind(-1)
    ours = log_probs(student.logits[rows, times])
    of_labels = ours.gather(-1, batch.labels[rows, times][:, None])[:, 0]
    return {"student_entropy": entropy(ours), "student_probability": of_labels.exp()}


def _of_both(student: ModelOutput, signal: TeacherSignal, where: Positions) -> PerToken:
    rows, times = where.unbind(-1)
    if signal.known is not None:
        known = signal.known[rows, times]
        rows, times = rows[known], times[known]
    sparse = signal.sparse
    if sparse is not None:
        best, tail = sparse.token_ids[rows, times, 0], sparse.tail_log_mass[rows, times]
        stored = torch.cat([sparse.log_probs[rows, times], tail[:, None]], dim=-1)
        found = {"teacher_entropy_of_top_k": entropy(stored), "top_k_mass": 1 - tail.exp()}
    elif signal.gives_distribution:
        theirs = log_probs(signal.logits[rows, times])
        best, largest = theirs.argmax(dim=-1), theirs.topk(min(TOP_K, theirs.shape[-1]), dim=-1)
        mass = largest.values.exp().sum(dim=-1)
        found = {"teacher_entropy": entropy(theirs), "top_k_mass": mass}
    else:
        return {}
    return found | {"top_1_agreement": (student.logits[rows, times].argmax(dim=-1) == best).float()}


def gradient_shares(
    terms: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]
) -> dict[str, Float[Tensor, ""]]:
    """Each term's share of the sum of the terms' gradient norms, in [0, 1]."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, trained, retain_graph=True, allow_unused=True)
        there = [gradient for gradient in gradients if gradient is not None]
        norms[name] = torch.stack(torch._foreach_norm(there, 2, dtype=torch.float32)).norm()
    total = torch.stack(list(norms.values())).sum().clamp(min=torch.finfo(torch.float32).tiny)
    return {name: norm / total for name, norm in norms.items()}


class NoOpWatch:
    """Warns, once for each term, when a term has long had next to no part in the gradient."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._quiet_since: dict[str, int] = {}
        self._warned: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {"quiet_since": self._quiet_since, "warned": sorted(self._warned)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where it stopped."""
        self._quiet_since, self._warned = dict(state["quiet_since"]), set(state["warned"])

    def see(self, step: int, shares: Mapping[str, Tensor]) -> None:
        """Takes the shares of one step, as they would be without a schedule of the weight."""
        for name, share in shares.items():
            if share >= NO_OP_SHARE:
                self._quiet_since.pop(name, None)
                continue
            since = self._quiet_since.setdefault(name, step)
            if step - since >= NO_OP_STEPS and name not in self._warned:
                self._warned.add(name)
                warnings.warn(
                    f"the term {name} has had less than {NO_OP_SHARE:.0%} of the gradient since "
                    f"step {since}: it changes next to nothing. Raise loss.{name}.weight, or leave "
                    f"the term out",
                    stacklevel=2,
                )

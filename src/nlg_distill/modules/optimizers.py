"""What an optimizer is given, and Muon for the matrices of hidden layers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from nlg_distill.errors import UserError
from nlg_distill.models import GenerationModel


def parameter_groups(
    parameters: Iterable[nn.Parameter], model: GenerationModel
) -> list[dict[str, Any]]:
    """Parameters in two groups, of which one may be missing.

    Args:
        parameters: all that are trained, those of losses too.
        model: says which of them belong to tokens and positions.

    Returns:
        Groups as optimizers of PyTorch take them, with `matrices` true for those of hidden layers:
        all with two dimensions but embeddings and the projection to logits.
    """
    apart = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    apart.add(id(model.logit_weight))
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim == 2 and id(parameter) not in apart].append(parameter)
    return [{"params": found, "matrices": key} for key, found in groups.items() if found]


class MuonAdamW(Optimizer):
    """Muon for the matrices of hidden layers, AdamW for all else.

    A matrix moves by an orthogonal one that is near its mean gradient: Jordan et al., "Muon: An
    optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon/,
    with Nesterov's momentum. Its steps are scaled to the root mean square that AdamW's usually
    have, 0.2 of the rate, so that both have one rate: Liu et al., "Muon is Scalable for LLM
    Training", 2025, https://arxiv.org/abs/2502.16982, section 2.2, equation 4.

    Deviations: keys and values of an attention are one matrix here, and so are the four gates of an
    LSTM. As in PyTorch's `Muon`, steps are computed in bfloat16 and are only roughly orthogonal.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        lr: float,
        momentum: float,
        betas: Sequence[float],
        weight_decay: float,
    ) -> None:
        """Divides the parameters.

        Args:
            groups: those of `parameter_groups`.
            lr: the rate of both.
            momentum: share of the mean gradient that Muon keeps at a step.
            betas: shares that AdamW keeps of the mean gradient and of its square.
            weight_decay: of both; a step takes `lr` times as much of each parameter.

        Raises:
            UserError: if parameters are given that are in no such group.
        """
        self._inner: list[Optimizer] = []
        for group in groups:
            if not isinstance(group, Mapping) or "matrices" not in group:
                raise UserError(
                    "Muon has to know which parameters are matrices of hidden layers: give it "
                    "nlg_distill.modules.optimizers.parameter_groups"
                )
            if group["matrices"]:
                settings: dict[str, Any] = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
            else:
                settings = {"betas": tuple(betas), "fused": True}
            kind = Muon if group["matrices"] else AdamW
            self._inner.append(kind([dict(group)], lr=lr, weight_decay=weight_decay, **settings))
        super().__init__([inner.param_groups[0] for inner in self._inner], defaults={})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters; gives what `closure` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for inner, group in zip(self._inner, self.param_groups, strict=True):
            inner.param_groups = [group]
            inner.state = self.state  # another one once it was resumed
            inner.step()
        return loss

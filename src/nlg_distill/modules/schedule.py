"""Learning-rate schedules, as factors of the peak rate."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nlg_distill.errors import UserError


def warmup_cosine(optimizer: Optimizer, *, warmup_steps: int, max_steps: int) -> LambdaLR:
    """A linear rise over `warmup_steps`, then half a cosine down to zero at `max_steps`.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017,
    https://arxiv.org/abs/1608.03983, equation 5, without restarts.

    Raises:
        UserError: if the warm-up is negative.
    """
    if warmup_steps < 0:
        raise UserError(f"warmup_steps must not be negative, got {warmup_steps}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        gone = (step - warmup_steps) / max(1, max_steps - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, gone)))

    return LambdaLR(optimizer, factor)

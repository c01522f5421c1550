"""The arithmetic of a run: float32, or matrix products in bfloat16."""

from contextlib import AbstractContextManager, nullcontext

import torch

from nlg_distill.errors import UserError

BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Instructions of x86 and ARM for products in bfloat16, as torch names them."""


def cpu_precision() -> str:
    """`bf16-mixed` where this machine's CPU has instructions for bfloat16, else `32-true`.

    Without them bfloat16 is imitated, slower than float32, and an LSTM may not run in it at all.
    """
    known = torch.cpu.get_capabilities()
    return "bf16-mixed" if any(known.get(name) for name in BFLOAT16) else "32-true"


def autocast(precision: str | int, device: torch.device) -> AbstractContextManager[None]:
    """The arithmetic of a Lightning precision, outside a trainer.

    Raises:
        UserError: if the precision is none that this project runs models in, or the CPU lacks it.
    """
    if precision in (32, "32", "32-true"):
        return nullcontext()
    if precision != "bf16-mixed":
        raise UserError(f"trainer.precision={precision}: use 32-true or bf16-mixed")
    if device.type == "cpu" and cpu_precision() != precision:
        raise UserError(
            f"trainer.precision={precision}: this machine's CPU has no instructions for bfloat16: "
            f"set trainer.precision=32-true, or leave it out"
        )
    return torch.autocast(device.type, torch.bfloat16)

"""The largest memory that a training took."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from nlg_distill.allocator import return_freed_memory

PROCESS = Path("/proc/self")


class PeakMemory(Callback):
    """Megabytes (1e6 bytes) that a training took at most, validation included.

    On a CPU, the resident memory of the process, Python and its libraries with it; on a CUDA
    device, what tensors there took. Of several processes the one that took most, of several
    attempts the same. It is 0 where it cannot be known: on a CPU without Linux's /proc, or on
    another kind of device.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        self.megabytes = 0.0
        self._is_known = False

    def state_dict(self) -> dict[str, float]:
        return {"megabytes": self.megabytes}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.megabytes = state_dict["megabytes"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._is_known = device.type == "cuda" or (device.type == "cpu" and _forget_peak())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # In a hook that every process comes by; checkpoints are saved behind it
        device = trainer.strategy.root_device
        taken = _taken(device) if self._is_known else 0.0
        most = trainer.strategy.reduce(torch.tensor(taken, device=device), reduce_op="max")
        self.megabytes = max(self.megabytes, float(most))


def _taken(device: torch.device) -> float:
    """Megabytes at most since the peak was forgotten."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return _peak_bytes() / 1e6


def _forget_peak() -> bool:
    """Lets Linux count the peak anew: a worker may have trained something larger before.

    Returns:
        Whether it does.
    """
    return_freed_memory()
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    """The most resident memory of this process since the peak was forgotten."""
    lines = (PROCESS / "status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024

"""The peak memory of a training: its own, the largest of attempts and processes."""

import subprocess
import sys

import lightning as L
import pytest
import torch
from conftest import SPECIAL, toy_model

from nlg_distill import memory
from nlg_distill.memory import PeakMemory
from nlg_distill.modules import StudentModule

pytestmark = pytest.mark.slow

PROGRAM = """
import torch
from nlg_distill.allocator import keep_freed_memory
from nlg_distill.memory import _forget_peak, _peak_bytes
keep_freed_memory()
[torch.ones(4_000_000) for _ in range(25)]  # 400 MB, of another training
assert _peak_bytes() > 400e6
assert _forget_peak()
before = _peak_bytes()
[torch.ones(4_000_000) for _ in range(12)]
torch.ones(50_000_000)  # 200 MB beside the 192 that are kept, or in their place
print((_peak_bytes() - before) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_an_earlier_training_of_the_process_does_not_count():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 180 < float(done.stdout) < 412


@pytest.fixture
def trainer():
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


def attempt(watch, trainer):
    module = StudentModule(toy_model(), SPECIAL)
    watch.on_train_start(trainer, module)
    watch.on_train_epoch_end(trainer, module)
    return watch.state_dict()


@pytest.fixture
def process(monkeypatch, tmp_path):
    """A process whose peak is 300 MB."""
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    (tmp_path / "clear_refs").touch()
    (tmp_path / "status").write_text("VmPeak:\t 999999 kB\nVmHWM:\t  292969 kB\nVmRSS:\t 5 kB\n")
    return tmp_path


def test_megabytes_are_of_the_peak_of_the_resident_memory(process, trainer):
    assert attempt(PeakMemory(), trainer)["megabytes"] == pytest.approx(300, abs=0.01)
    assert (process / "clear_refs").read_text() == "5"


@pytest.mark.parametrize(("before", "megabytes"), [(250.0, 300.0), (350.0, 350.0)])
def test_of_several_attempts_the_largest_counts(process, trainer, before, megabytes):
    watch = PeakMemory()
    watch.load_state_dict({"megabytes": before})
    assert attempt(watch, trainer)["megabytes"] == pytest.approx(megabytes, abs=0.01)


@pytest.mark.parametrize(("other", "megabytes"), [(250.0, 300.0), (350.0, 350.0)])
def test_of_several_processes_the_largest_counts(process, trainer, monkeypatch, other, megabytes):
    def reduce(value, reduce_op):
        assert reduce_op == "max"
        return torch.maximum(value, torch.tensor(other))

    monkeypatch.setattr(trainer.strategy, "reduce", reduce)
    assert attempt(PeakMemory(), trainer)["megabytes"] == pytest.approx(megabytes, abs=0.01)


def test_it_is_not_known_where_the_peak_cannot_be_forgotten(process, trainer):
    (process / "clear_refs").unlink()
    (process / "clear_refs").mkdir()
    assert attempt(PeakMemory(), trainer) == {"megabytes": 0.0}


def test_of_a_cuda_device_it_is_what_its_tensors_took(process, monkeypatch):
    taken = {torch.device("cuda", 0): 5_000_000, torch.device("cuda", 1): 7_000_000}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", taken.get)
    assert memory._taken(torch.device("cuda", 1)) == 7.0


def test_it_is_not_known_of_other_devices(process, trainer, monkeypatch):
    monkeypatch.setattr(trainer.strategy, "_root_device", torch.device("meta"))
    monkeypatch.setattr(trainer.strategy, "reduce", lambda value, reduce_op: torch.tensor(0.0))
    assert attempt(PeakMemory(), trainer) == {"megabytes": 0.0}

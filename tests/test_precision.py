"""Which arithmetic a machine has, and what refuses another."""

import pytest
import torch
from omegaconf import OmegaConf

from nlg_distill.config import compose
from nlg_distill.errors import UserError
from nlg_distill.precision import autocast, cpu_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({"neon": True, "bf16": True}, "bf16-mixed"),
        ({"neon": True, "bf16": False}, "32-true"),
    ],
)
def test_it_is_bfloat16_where_the_cpu_has_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert cpu_precision() == expected
    cfg = compose(["trainer=cpu"])
    assert cfg.trainer.precision == expected
    assert f"precision: {expected}" in OmegaConf.to_yaml(cfg, resolve=True)
    assert compose(["trainer=gpu"]).trainer.precision == "bf16-mixed"


def test_bfloat16_is_refused_where_the_cpu_has_none_and_a_gpu_keeps_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(UserError, match=r"bf16-mixed: this machine's CPU has no .*=32-true"):
        autocast("bf16-mixed", CPU)
    with autocast("32-true", CPU):
        assert not torch.is_autocast_enabled("cpu")


def test_autocast_is_of_the_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    with autocast("bf16-mixed", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16

"""Trap 10: a term that changes nothing (atropos#456) is told."""

import warnings

import pytest
import torch

from nlg_distill.modules.diagnostics import NO_OP_STEPS, NoOpWatch, gradient_shares


def test_shares_of_the_gradient_follow_the_gradients_norms():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    terms = {"large": 3 * weight.sum(), "small": weight.sum(), "none": weight.sum() * 0}
    shares = gradient_shares(terms, [weight])
    assert [shares[name].item() for name in terms] == pytest.approx([0.75, 0.25, 0.0])


def test_a_term_without_effect_is_told_once_and_only_if_it_lasts():
    watch = NoOpWatch()
    quiet, loud = torch.tensor(0.001), torch.tensor(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see(0, {"forward_kl": quiet})
        watch.see(NO_OP_STEPS - 1, {"forward_kl": quiet})
        watch.see(NO_OP_STEPS, {"forward_kl": loud})  # recovers: the count begins anew
        watch.see(2 * NO_OP_STEPS - 1, {"forward_kl": quiet})
    with pytest.warns(UserWarning, match=r"the term forward_kl has had less than 1%"):
        watch.see(3 * NO_OP_STEPS - 1, {"forward_kl": quiet})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see(4 * NO_OP_STEPS, {"forward_kl": quiet})

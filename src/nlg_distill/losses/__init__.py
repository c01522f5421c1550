"""Losses: pure functions, one per file, in nats per token; and the terms that apply them."""

from nlg_distill.losses.divergence import (
    DivergenceTerm,
    LabelledDivergenceTerm,
    TopKTerm,
    VocabularyTerm,
)
from nlg_distill.losses.forward_kl import forward_kl
from nlg_distill.losses.nll import nll
from nlg_distill.losses.objective import LabelTerm, Objective
from nlg_distill.losses.term import Term

__all__ = [
    "DivergenceTerm",
    "LabelTerm",
    "LabelledDivergenceTerm",
    "Objective",
    "Term",
    "TopKTerm",
    "VocabularyTerm",
    "forward_kl",
    "nll",
]

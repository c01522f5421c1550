"""Losses: pure functions of logits, one per file, in nats per token."""

from nlg_distill.losses.forward_kl import forward_kl
from nlg_distill.losses.nll import nll
from nlg_distill.losses.objective import DivergenceTerm, LabelTerm, Objective, Term

__all__ = ["DivergenceTerm", "LabelTerm", "Objective", "Term", "forward_kl", "nll"]

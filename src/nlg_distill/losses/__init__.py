"""Losses: pure functions, one per file, in nats per token; and the terms that apply them."""

from nlg_distill.losses.adaptive_kl import adaptive_kl
from nlg_distill.losses.adaptive_skew import AdaptiveSkewTerm
from nlg_distill.losses.alpha_beta import alpha_beta
from nlg_distill.losses.attention_kl import AttentionTerm, attention_kl
from nlg_distill.losses.decoupled_kl import decoupled_kl
from nlg_distill.losses.divergence import (
    CrossVocabularyTerm,
    DivergenceTerm,
    LabelledDivergenceTerm,
    VocabularyTerm,
)
from nlg_distill.losses.features import FeatureTerm
from nlg_distill.losses.forward_kl import forward_kl
from nlg_distill.losses.hidden_cosine import hidden_cosine
from nlg_distill.losses.hidden_mse import hidden_mse
from nlg_distill.losses.hidden_states import HiddenStateTerm
from nlg_distill.losses.jensen_shannon import jensen_shannon
from nlg_distill.losses.nll import nll
from nlg_distill.losses.objective import LabelTerm, Objective
from nlg_distill.losses.policy_gradient import PolicyGradientTerm, policy_gradient
from nlg_distill.losses.reverse_kl import reverse_kl
from nlg_distill.losses.sampled_kl import SampledTerm, sampled_kl
from nlg_distill.losses.schedules import CosineSchedule, ExponentialSchedule, LinearSchedule
from nlg_distill.losses.skew_forward_kl import skew_forward_kl
from nlg_distill.losses.skew_reverse_kl import skew_reverse_kl
from nlg_distill.losses.sorted_wasserstein import sorted_wasserstein
from nlg_distill.losses.span_kl import SpanTerm, span_kl
from nlg_distill.losses.standardize import standardize_logits
from nlg_distill.losses.symmetric_kl import symmetric_kl
from nlg_distill.losses.taid import TAIDTerm, taid
from nlg_distill.losses.term import Term
from nlg_distill.losses.token_weights import StudentLossWeights, TeacherEntropyWeights
from nlg_distill.losses.top_k_kl import TopKTerm
from nlg_distill.losses.total_variation import total_variation
from nlg_distill.losses.value_relation_kl import ValueRelationTerm, value_relation_kl

__all__ = [
    "AdaptiveSkewTerm",
    "AttentionTerm",
    "CosineSchedule",
    "CrossVocabularyTerm",
    "DivergenceTerm",
    "ExponentialSchedule",
    "FeatureTerm",
    "HiddenStateTerm",
    "LabelTerm",
    "LabelledDivergenceTerm",
    "LinearSchedule",
    "Objective",
    "PolicyGradientTerm",
    "SampledTerm",
    "SpanTerm",
    "StudentLossWeights",
    "TAIDTerm",
    "TeacherEntropyWeights",
    "Term",
    "TopKTerm",
    "ValueRelationTerm",
    "VocabularyTerm",
    "adaptive_kl",
    "alpha_beta",
    "attention_kl",
    "decoupled_kl",
    "forward_kl",
    "hidden_cosine",
    "hidden_mse",
    "jensen_shannon",
    "nll",
    "policy_gradient",
    "reverse_kl",
    "sampled_kl",
    "skew_forward_kl",
    "skew_reverse_kl",
    "sorted_wasserstein",
    "span_kl",
    "standardize_logits",
    "symmetric_kl",
    "taid",
    "total_variation",
    "value_relation_kl",
]

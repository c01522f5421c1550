"""Targets policies: whose text the student is trained on."""

from nlg_distill.targets.black_box import BlackBoxText
from nlg_distill.targets.contrastive import ContrastivePairs
from nlg_distill.targets.gold import Gold
from nlg_distill.targets.mixture import Mixture
from nlg_distill.targets.policy import (
    Beam,
    OnlinePolicy,
    Sampling,
    TargetsPolicy,
    TeacherText,
    Writers,
)
from nlg_distill.targets.replay import AdaptiveReplay
from nlg_distill.targets.speculative import SpeculativeSamples
from nlg_distill.targets.student_samples import StudentSamples
from nlg_distill.targets.teacher_beam import TeacherBeam
from nlg_distill.targets.teacher_interpolated import TeacherInterpolated
from nlg_distill.targets.teacher_mixed import TeacherMixedSamples
from nlg_distill.targets.teacher_samples import TeacherSamples

__all__ = [
    "AdaptiveReplay",
    "Beam",
    "BlackBoxText",
    "ContrastivePairs",
    "Gold",
    "Mixture",
    "OnlinePolicy",
    "Sampling",
    "SpeculativeSamples",
    "StudentSamples",
    "TargetsPolicy",
    "TeacherBeam",
    "TeacherInterpolated",
    "TeacherMixedSamples",
    "TeacherSamples",
    "TeacherText",
    "Writers",
]

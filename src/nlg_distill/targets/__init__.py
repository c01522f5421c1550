"""Targets policies: whose text the student is trained on."""

from nlg_distill.targets.gold import Gold
from nlg_distill.targets.policy import Beam, TargetsPolicy, TeacherText
from nlg_distill.targets.teacher_beam import TeacherBeam
from nlg_distill.targets.teacher_interpolated import TeacherInterpolated

__all__ = ["Beam", "Gold", "TargetsPolicy", "TeacherBeam", "TeacherInterpolated", "TeacherText"]

"""Lightning modules: a teacher, a student, and the distillation that combines them."""

from nlg_distill.modules.distill import DistillModule
from nlg_distill.modules.generation import GenerationModule
from nlg_distill.modules.optimizers import MuonAdamW
from nlg_distill.modules.schedule import warmup_cosine
from nlg_distill.modules.student import StudentModule
from nlg_distill.modules.teacher import TeacherModule

__all__ = [
    "DistillModule",
    "GenerationModule",
    "MuonAdamW",
    "StudentModule",
    "TeacherModule",
    "warmup_cosine",
]

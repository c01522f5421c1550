"""The small model."""

from nlg_distill.modules.generation import GenerationModule


class StudentModule(GenerationModule):
    """The small model: trains alone, by maximum likelihood, and writes.

    Inside a `DistillModule` it is what learns and what is kept.
    """

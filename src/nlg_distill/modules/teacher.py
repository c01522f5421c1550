"""The large model."""

from nlg_distill.modules.generation import GenerationModule


class TeacherModule(GenerationModule):
    """The large model: trains alone, by maximum likelihood, and writes.

    A teacher source freezes it before a student sees it.
    """

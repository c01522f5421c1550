"""How the student starts."""

from nlg_distill.init.copy_layers import CopyLayers
from nlg_distill.init.experiment import ExperimentInit
from nlg_distill.init.random import RandomInit

__all__ = ["CopyLayers", "ExperimentInit", "RandomInit"]

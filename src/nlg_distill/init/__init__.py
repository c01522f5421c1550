"""How the student starts."""

from nlg_distill.init.copy_layers import CopyLayers
from nlg_distill.init.embeddings import Embeddings
from nlg_distill.init.experiment import ExperimentInit
from nlg_distill.init.random import RandomInit
from nlg_distill.init.slice_width import SliceWidth

__all__ = ["CopyLayers", "Embeddings", "ExperimentInit", "RandomInit", "SliceWidth"]

"""Models: one family per file; they know nothing of training or distillation."""

from nlg_distill.models.from_teacher import from_teacher
from nlg_distill.models.generation_model import GenerationModel
from nlg_distill.models.gpt import GPT
from nlg_distill.models.hf_causal import HFCausal
from nlg_distill.models.hf_seq2seq import HFSeq2Seq
from nlg_distill.models.lstm import LSTMEncoderDecoder
from nlg_distill.models.output import ModelOutput
from nlg_distill.models.transformer import TransformerEncoderDecoder

__all__ = [
    "GPT",
    "GenerationModel",
    "HFCausal",
    "HFSeq2Seq",
    "LSTMEncoderDecoder",
    "ModelOutput",
    "TransformerEncoderDecoder",
    "from_teacher",
]

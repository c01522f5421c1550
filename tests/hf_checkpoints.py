"""Small random checkpoints of Hugging Face models, made on the spot."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may ask a hub

import pytest
import torch

transformers = pytest.importorskip("transformers")

from nlg_distill.data.batch import SpecialIds  # noqa: E402
from nlg_distill.models import HFCausal, HFSeq2Seq  # noqa: E402

VOCAB = 23
BART = dict(
    vocab_size=VOCAB,
    d_model=12,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=3,
    decoder_attention_heads=3,
    encoder_ffn_dim=16,
    decoder_ffn_dim=16,
    max_position_embeddings=40,
)
T5 = dict(vocab_size=VOCAB, d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3)
GPT2 = dict(vocab_size=VOCAB, n_positions=40, n_embd=12, n_layer=2, n_head=3)
LLAMA = dict(
    vocab_size=VOCAB,
    hidden_size=12,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=40,
)


def _ids(pad, begin, end):
    special = SpecialIds(pad=pad, begin=begin, end=end)
    return special, dict(pad_token_id=pad, eos_token_id=end)


def settings(family):
    """Config class, settings and special ids of a family as its checkpoints have them."""
    if family in ("t5", "t5_untied"):
        special, ids = _ids(pad=0, begin=0, end=1)
        tied = dict(tie_word_embeddings=family == "t5")
        return "T5Config", T5 | ids | tied | dict(decoder_start_token_id=0), special
    if family == "bart":
        special, ids = _ids(pad=1, begin=2, end=2)
        return "BartConfig", BART | ids | dict(bos_token_id=0, decoder_start_token_id=2), special
    if family == "marian":
        special, ids = _ids(pad=VOCAB - 1, begin=VOCAB - 1, end=0)
        start = dict(decoder_start_token_id=VOCAB - 1, forced_eos_token_id=0)
        return "MarianConfig", BART | ids | start | dict(scale_embedding=True), special
    if family == "gpt2":
        special, ids = _ids(pad=VOCAB - 1, begin=VOCAB - 1, end=VOCAB - 1)
        return "GPT2Config", GPT2 | ids | dict(bos_token_id=VOCAB - 1), special
    assert family == "llama", family
    special, ids = _ids(pad=2, begin=1, end=2)
    return "LlamaConfig", LLAMA | ids | dict(bos_token_id=1), special


SEQ2SEQ = ["t5", "t5_untied", "bart", "marian"]
CAUSAL = ["gpt2", "llama"]
FAMILIES = SEQ2SEQ + CAUSAL


def make_checkpoint(family, folder, **changes):
    """Writes a random model, far from uniform, with a bias on its logits where it has one."""
    name, given, special = settings(family)
    config = getattr(transformers, name)(**given | changes)
    auto = "AutoModelForSeq2SeqLM" if family in SEQ2SEQ else "AutoModelForCausalLM"
    model = getattr(transformers, auto).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.copy_(torch.randn_like(buffer))
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return special


def opened(family, folder, **options):
    kind = HFSeq2Seq if family in SEQ2SEQ else HFCausal
    return kind(VOCAB, path=str(folder), **options).eval()


def theirs(family, folder, **options):
    """The model as transformers opens it."""
    auto = "AutoModelForSeq2SeqLM" if family in SEQ2SEQ else "AutoModelForCausalLM"
    return getattr(transformers, auto).from_pretrained(folder, **options).eval()

"""Small random checkpoints of Hugging Face models, made on the spot."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may ask a hub

import torch
import transformers

from nlg_distill.data.batch import SpecialIds
from nlg_distill.models import HFCausal, HFSeq2Seq

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
    if family in ("mbart50", "m2m100"):
        special, ids = _ids(pad=1, begin=2, end=2)
        name = "MBartConfig" if family == "mbart50" else "M2M100Config"
        return name, BART | ids | dict(bos_token_id=0, decoder_start_token_id=2), special
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
    auto = "AutoModelForCausalLM" if family in CAUSAL else "AutoModelForSeq2SeqLM"
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
    kind = HFCausal if family in CAUSAL else HFSeq2Seq
    return kind(options.pop("vocab_size", VOCAB), path=str(folder), **options).eval()


def theirs(family, folder, **options):
    """The model as transformers opens it."""
    auto = "AutoModelForCausalLM" if family in CAUSAL else "AutoModelForSeq2SeqLM"
    return getattr(transformers, auto).from_pretrained(folder, **options).eval()


BYTE_TOKENS = 256
GGUF_TOKENS = BYTE_TOKENS + 2 + 3


def make_gguf(file, network):
    """Writes a Llama of transformers as llama.cpp would, with a tokenizer of bytes and two merges.

    The linear maps of the feed-forward part are quantised to eight bits.
    """
    import gguf
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    config, writer = network.config, gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens = [
        *bytes_to_unicode().values(),
        "ab",
        "abc",
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    ]
    assert len(tokens) == config.vocab_size == GGUF_TOKENS
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(BYTE_TOKENS + 2)
    writer.add_eos_token_id(BYTE_TOKENS + 3)
    writer.add_pad_token_id(BYTE_TOKENS + 3)
    writer.add_add_bos_token(False)
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, value in network.state_dict().items():
        array, place = value.numpy(), names.get_name(name, try_suffixes=(".weight",))
        for part, count in heads.items():
            if f"{part}_proj" in name:  # llama.cpp turns neighbours, transformers halves
                array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2)
                array = array.reshape(value.shape).copy()
        if ".mlp." in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(place, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(place, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantisable(**changes):
    """A Llama whose sizes fit blocks of quantised numbers."""
    sizes = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2)
    others = dict(vocab_size=GGUF_TOKENS, tie_word_embeddings=False)
    config = transformers.LlamaConfig(**LLAMA | sizes | others | changes)
    network = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


# Tokenizers.

TEXTS = [
    "abc cab bca.",
    "the cab is abc",
    "a bath, a cab",
    "is the bath bad?",
    "bad cabs bathe",
]


def _unigram():
    """Letters and a few pieces, with scores, as SentencePiece would have them."""
    letters = sorted(set("".join(TEXTS)) - {" "})
    return [("▁", -3.0), *((letter, -4.0) for letter in letters), ("▁the", -2.0), ("ab", -3.0)]


def _byte_level(*special):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = [*special, *bytes_to_unicode().values(), "ab", "Ġc", "Ġcab"]
    merges = [("a", "b"), ("Ġ", "c"), ("Ġc", "ab")]
    return dict(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)


def _marian(folder):
    import json

    import sentencepiece

    folder.mkdir(exist_ok=True)
    for side in ("source", "target"):
        texts = TEXTS if side == "source" else [text[::-1] for text in TEXTS]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts * 5),
            model_prefix=str(folder / side),
            vocab_size=24,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    spms = [
        sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        for side in ("source", "target")
    ]
    pieces = {spm.id_to_piece(i) for spm in spms for i in range(3, spm.vocab_size())}
    vocab = ["</s>", "<unk>", *sorted(pieces), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
    return transformers.MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
    )


def _m2m100(folder):
    import json

    import sentencepiece
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(exist_ok=True)
    spm = folder / "pieces"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 5), model_prefix=str(spm), vocab_size=24, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{spm}.model")
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *(pieces.id_to_piece(i) for i in range(3, 24))]
    (folder / "pieces.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
    codes = FAIRSEQ_LANGUAGE_CODES["m2m100"]  # published checkpoints list them all
    return transformers.M2M100Tokenizer(
        str(folder / "pieces.json"),
        f"{spm}.model",
        additional_special_tokens=[f"__{code}__" for code in codes],
    )


def make_tokenizer(family, folder):
    """Writes a small tokenizer of a family's own class, and gives it."""
    tokens = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    if family.startswith("t5"):
        made = transformers.T5Tokenizer(vocab=[*tokens, *_unigram()], extra_ids=0)
    elif family == "bart":
        made = transformers.BartTokenizer(**_byte_level("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    elif family == "marian":
        made = _marian(folder)
    elif family == "m2m100":
        made = _m2m100(folder)
    elif family == "gpt2":
        made = transformers.GPT2Tokenizer(**_byte_level("<|endoftext|>"))
    elif family == "llama":
        names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
        names += [piece for piece, _ in _unigram()]
        vocab = {name: i for i, name in enumerate(names)}
        made = transformers.LlamaTokenizer(vocab=vocab, merges=[("a", "b")], add_bos_token=True)
    else:
        assert family == "mbart50", family
        order = [("<s>", 0.0), *tokens]
        made = transformers.MBart50Tokenizer(vocab=[*order, *_unigram()])
    made.save_pretrained(folder)
    return made


def make_whole(family, folder, **changes):
    """A checkpoint with its tokenizer: the model has a row for every piece, and its special ids."""
    made = make_tokenizer(family, folder)
    size = max(made.get_vocab().values()) + 1
    ids = {
        f"{name}_token_id": number
        for name in ("pad", "eos", "bos")
        if (number := getattr(made, f"{name}_token_id")) is not None
    }
    if family in ("t5", "t5_untied", "marian"):
        ids["decoder_start_token_id"] = made.pad_token_id
    elif family in ("bart", "mbart50", "m2m100"):
        ids["decoder_start_token_id"] = made.eos_token_id
    make_checkpoint(family, folder, vocab_size=size, **ids, **changes)
    return made

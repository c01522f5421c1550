"""Narrower students that are cut out of Hugging Face models."""

import json

import pytest
import torch
import transformers
from hf_checkpoints import (
    BART,
    FAMILIES,
    GGUF_TOKENS,
    LLAMA,
    VOCAB,
    make_checkpoint,
    make_gguf,
    opened,
    quantisable,
)
from peft import LoraConfig

from nlg_distill.data.batch import Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.init import CopyLayers, Embeddings, SliceWidth
from nlg_distill.models import HFCausal, HFSeq2Seq, hf_widths
from nlg_distill.models.hf_flow import Role

SPECIAL = SpecialIds(pad=0, begin=1, end=2)
BATCH = collate([Example(0, [3, 4], [5]), Example(1, [6, 7, 8], [7, 8, 9, 4])], SPECIAL)
TWO_THIRDS = 2 / 3
CHANGES = {  # to 3 heads, 12 hidden and 18 feed-forward units, so that two thirds are whole
    "t5": dict(d_ff=18, layer_norm_epsilon=1e-12),
    "t5_untied": dict(d_ff=18, layer_norm_epsilon=1e-12),
    "bart": dict(encoder_ffn_dim=18, decoder_ffn_dim=18),
    "marian": dict(encoder_ffn_dim=18, decoder_ffn_dim=18, scale_embedding=False),
    "gpt2": dict(layer_norm_epsilon=1e-12),
    "llama": dict(
        intermediate_size=18,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=4,
        rms_norm_eps=1e-12,
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each family."""
    folder = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        torch.manual_seed(3)
        make_checkpoint(family, folder / family, **CHANGES[family])
    return folder


def share(teacher, folder, *, depth=1.0, width=1.0, tokens=VOCAB, **changes):
    """A random student with a share of the teacher's structure."""
    config = type(teacher).share({"path": str(folder)}, depth=depth, width=width)["config"]
    return type(teacher)(tokens, config=config | changes).eval()


@pytest.mark.parametrize("by", ["importance", "order"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_at_the_teachers_widths_a_slice_is_the_teacher(folders, family, by):
    teacher = opened(family, folders / family)
    student = share(teacher, folders / family)
    assert not torch.allclose(student(BATCH).logits, teacher(BATCH).logits)
    report = SliceWidth(by=by, layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits, rtol=0, atol=0)
    assert set(report) == set(student.state_dict()) - student.computed


def norms(model):
    """The weights and the biases of its norms."""
    modules = [m for m in model.modules() if "Norm" in type(m).__name__]
    assert modules
    return [m.weight for m in modules], [m.bias for m in modules if "bias" in m._parameters]


@torch.no_grad()
def with_dead_units(model):
    """Makes a third of the units of every width dead, wherever they are.

    Where norms subtract a mean, that of the others becomes zero.
    """
    generator, alive = torch.Generator().manual_seed(1), {}
    weights, biases = norms(model)
    for weight in weights if biases else []:
        weight.fill_(1.0)
    scales = {weight.data_ptr() for weight in weights}
    for name, value in model.state_dict().items():
        for dimension, axis in enumerate(model.axes(name)):
            if axis is None or not axis.ranked:
                continue
            (width,), size = axis.widths, value.shape[dimension]
            units = axis.units(size)
            order = torch.randperm(units, generator=generator)
            kept = alive.setdefault(width, order[: 2 * units // 3].sort().values)
            mask = torch.zeros(size).index_fill(0, axis.entries({width: kept}, size), 1.0)
            mask = mask.view([-1 if d == dimension else 1 for d in range(value.ndim)])
            if biases and width == "hidden" and value.data_ptr() not in scales:
                value.sub_((value * mask).sum(dimension, keepdim=True) / mask.sum())
            value.mul_(mask)
    assert any(not torch.equal(kept, torch.arange(len(kept))) for kept in alive.values())


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_dead_units_of_every_width_are_what_importance_cuts(folders, family):
    teacher = opened(family, folders / family)
    with_dead_units(teacher)
    student = share(teacher, folders / family, width=TWO_THIRDS)
    for model in (student, teacher):  # where positions are computed, they are not the same
        for name in model.computed:
            model.state_dict()[name].zero_()

    def logits(by):
        SliceWidth(by=by, layers="spaced").hand_over(student, teacher)
        for weight in norms(student)[0]:
            weight.mul_((12 / 8) ** 0.5)  # norms divide by the number of units
        scaled = student.inner.config.to_dict().get("scale_decoder_outputs", False)
        return student(BATCH).logits * (8 / 12) ** (0.5 if scaled else 0.0)

    expected = teacher(BATCH).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits("importance"), expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(logits("order"), expected, atol=0.05)


# Where heads and units stand, by hand.


@torch.no_grad()
def test_heads_of_t5_are_cut_with_their_relative_positions(folders):
    teacher = opened("t5", folders / "t5")
    dead = {"encoder.block": [1, 1], "decoder.block": [2, 2], "cross": [0, 2]}
    for part in ("encoder", "decoder"):
        for i, block in enumerate(getattr(teacher.inner, part).block):
            places = [(block.layer[0].SelfAttention, dead[f"{part}.block"][i])]
            if part == "decoder":
                places.append((block.layer[1].EncDecAttention, dead["cross"][i]))
            for attention, head in places:
                rows = slice(4 * head, 4 * head + 4)
                for matrix in (attention.q, attention.k, attention.v):
                    matrix.weight[rows] = 0
                attention.o.weight[:, rows] = 0
                if attention.has_relative_attention_bias:
                    attention.relative_attention_bias.weight[:, head] = 0
    student = share(teacher, folders / "t5", num_heads=2)
    SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits)


@torch.no_grad()
def test_layers_of_t5_keep_the_same_heads_as_they_share_their_positions(folders):
    teacher = opened("t5", folders / "t5")
    first, second = (block.layer[0].SelfAttention for block in teacher.inner.encoder.block)
    first.q.weight[4:8] *= 0.01
    second.q.weight[8:] = second.k.weight[8:] = second.v.weight[8:] = 0
    second.o.weight[:, 8:] = 0  # alone, one layer would drop its second head, one its third
    student = share(teacher, folders / "t5", num_heads=2)
    SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    for own, given in zip(student.inner.encoder.block, (first, second), strict=True):
        assert torch.equal(own.layer[0].SelfAttention.q.weight, given.q.weight[:8])


@torch.no_grad()
def test_heads_of_llama_are_cut_with_all_that_share_their_key(folders):
    teacher = opened("llama", folders / "llama")
    for layer, group in zip(teacher.inner.model.layers, (1, 2), strict=True):
        attention, queries = layer.self_attn, slice(8 * group, 8 * group + 8)
        keys = slice(4 * group, 4 * group + 4)
        attention.q_proj.weight[queries] = 0
        attention.k_proj.weight[keys] = attention.v_proj.weight[keys] = 0
        attention.o_proj.weight[:, queries] = 0
    fewer = dict(num_attention_heads=4, num_key_value_heads=2)
    student = share(teacher, folders / "llama", **fewer)
    SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits)
    other = share(teacher, folders / "llama", num_attention_heads=6, num_key_value_heads=2)
    with pytest.raises(UserError, match=r"head of the student is 12 wide .* 8, in .*q_proj"):
        SliceWidth(by="importance", layers="spaced").hand_over(other, teacher)


@torch.no_grad()
def test_queries_keys_and_values_of_gpt2_are_cut_each(folders):
    teacher = opened("gpt2", folders / "gpt2")
    student = share(teacher, folders / "gpt2", width=TWO_THIRDS, depth=0.5)
    report = SliceWidth(by="order", layers="last").hand_over(student, teacher)
    (own,), given = student.inner.transformer.h, teacher.inner.transformer.h[1]
    columns = [*range(8), *range(12, 20), *range(24, 32)]
    assert torch.equal(own.attn.c_attn.weight, given.attn.c_attn.weight[:8, columns])
    assert torch.equal(own.attn.c_attn.bias, given.attn.c_attn.bias[columns])
    assert torch.equal(own.attn.c_proj.weight, given.attn.c_proj.weight[:8, :8])
    assert torch.equal(own.mlp.c_fc.weight, given.mlp.c_fc.weight[:8, :32])
    assert report["network.transformer.h.0.attn.c_attn.weight"] == (
        "network.transformer.h.1.attn.c_attn.weight [12, 36] cut to [8, 24]"
    )


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_feed_forward_units_alone_are_cut(folders, family):
    teacher = opened(family, folders / family)
    sizes = teacher.inner.config.to_dict()
    units = 48 if family == "gpt2" else 18
    names = ("d_ff", "intermediate_size", "n_inner", "encoder_ffn_dim", "decoder_ffn_dim")
    dead = torch.arange(units) % 3 == 1
    transposed = family == "gpt2"
    for name, value in teacher.network.named_parameters():
        matrix = value.T if transposed and value.ndim == 2 else value
        if any(part in name for part in ("wi", "fc1", "c_fc", "gate_proj", "up_proj")):
            matrix[dead] = 0
        if any(part in name for part in ("wo.", "fc2.w", "mlp.c_proj.w", "down_proj")):
            matrix[:, dead] = 0
    fewer = {name: 2 * units // 3 for name in names if name in sizes}
    student = share(teacher, folders / family, **fewer)
    SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits)


# What belongs to the student, or to the tokenizer.


@torch.no_grad()
def test_computed_positions_are_those_that_a_stored_student_has(folders, tmp_path):
    teacher = opened("marian", folders / "marian")
    student = share(teacher, folders / "marian", width=TWO_THIRDS)
    before = student.inner.model.encoder.embed_positions.weight.clone()
    report = SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    assert torch.equal(student.inner.model.encoder.embed_positions.weight, before)
    assert not any("embed_positions" in name for name in report)
    student.save(tmp_path)
    found = HFSeq2Seq(VOCAB, path=str(tmp_path)).eval()
    torch.testing.assert_close(found(BATCH).logits, student(BATCH).logits)


@pytest.mark.parametrize("family", ["t5", "bart", "llama"])
@torch.no_grad()
def test_rows_beyond_the_tokenizers_pieces_are_left_out(folders, family):
    teacher = opened(family, folders / family, vocab_size=VOCAB - 3)
    student = share(teacher, folders / family, tokens=VOCAB - 3)
    assert len(student.inner.get_output_embeddings().weight) == VOCAB - 3
    SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_embeddings_are_shared_or_projected(folders, family):
    teacher = opened(family, folders / family)
    twin, student = (share(teacher, folders / family, width=w) for w in (1.0, TWO_THIRDS))
    spread = student.inner.get_input_embeddings().weight.std().item()
    report = Embeddings().hand_over(twin, teacher)
    assert set(report.values()) == set(report)
    given = teacher.inner.get_input_embeddings().weight
    assert torch.equal(twin.inner.get_input_embeddings().weight, given)
    Embeddings().hand_over(student, teacher)
    for reader in (student.inner, getattr(student.inner, "get_decoder", lambda: student.inner)()):
        rows = reader.get_input_embeddings().weight
        assert rows.std().item() == pytest.approx(spread, rel=1e-3)
        first = (rows - rows.mean(dim=0)).T @ (given - given.mean(dim=0))
        assert torch.linalg.matrix_rank(first) == 8
    with pytest.raises(UserError, match="narrower, not wider"):
        Embeddings().hand_over(teacher, student)


# What is refused, before anything is trained.


def of_config(model_type, **given):
    return HFCausal(VOCAB, config={"model_type": model_type, **given})


SMALL = {name: size for name, size in LLAMA.items() if name != "vocab_size"}
SQUARE = {name: size for name, size in SMALL.items() if name != "num_key_value_heads"}


@pytest.mark.parametrize(
    ("model_type", "given", "message"),
    [
        ("gpt_neox", SQUARE, r"query_key_value.* has units of .*attention.heads in an order"),
        ("phi3", SMALL | dict(pad_token_id=0), r"self_attn.* has units of .*heads in an order"),
        (
            "phi3",
            SMALL | dict(pad_token_id=0, num_hidden_layers=1),
            r"self_attn.* has units of .*heads in an order",
        ),
        (
            "bloom",
            dict(hidden_size=12, n_head=3, n_layer=2),
            r"bloom: .*dense.weight might count heads or hidden units",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(model_type, given, message):
    model = of_config(model_type, **given)
    with pytest.raises(UserError, match=message):
        SliceWidth(by="order", layers="spaced").hand_over(model, model)


def test_grouped_heads_whose_width_is_not_set_are_told():
    given = SMALL | dict(num_attention_heads=6, num_key_value_heads=3, hidden_size=24)
    model = of_config("qwen2", **given)
    query, key = (f"network.model.layers.1.self_attn.{part}_proj.weight" for part in "qk")
    assert [axis.group for axis in (model.axes(query)[0], model.axes(key)[0])] == [8, 4]
    assert model.axes(key)[0].widths == ("model.layers.1.self_attn.heads",)


def test_the_widths_of_experts_are_told():
    """Gate and first matrix of all experts are one parameter, of two blocks."""
    sizes = dict(moe_intermediate_size=8, shared_expert_intermediate_size=16, num_experts=4)
    model = of_config("qwen2_moe", **SMALL | dict(hidden_size=48), **sizes)
    mlp = "network.model.layers.0.mlp"
    _, gate, hidden = model.axes(f"{mlp}.experts.gate_up_proj")
    assert (gate.widths, gate.blocks) == (("model.layers.0.mlp.feed_forward",), 2)
    assert hidden.widths == ("hidden",)
    (shared, _), (_, read) = (
        model.axes(f"{mlp}.shared_expert.{part}_proj.weight") for part in ("up", "down")
    )
    assert shared.widths == read.widths == ("model.layers.0.mlp.shared_expert.feed_forward",)


@pytest.mark.parametrize("family", ["t5", "bart", "gpt2"])
def test_a_wrong_idea_of_a_model_is_found_out(folders, family, monkeypatch):
    model = opened(family, folders / family)
    hf_widths._axes_of.cache_clear()

    def turned(network, inputs):
        return dict.fromkeys(dict(network.named_modules()), Role.WRITES)

    monkeypatch.setattr(hf_widths, "_in_common", lambda network, found: found)
    monkeypatch.setattr(hf_widths, "roles", turned)
    with pytest.raises(UserError, match=f"{family}: .* has units of .* in an order that is not"):
        model.axes("network.lm_head.weight")
    monkeypatch.undo()
    assert model.axes("network.lm_head.weight")


def bart(**changes):
    sizes = {name: size for name, size in BART.items() if name != "vocab_size"} | changes
    return HFSeq2Seq(VOCAB, config={"model_type": "bart", "pad_token_id": 1, **sizes})


def test_heads_of_the_decoder_count_too():
    teacher, other = bart(), bart(decoder_attention_heads=2)
    with pytest.raises(UserError, match="decoder_attention_heads is 2, but the teacher has 3"):
        CopyLayers(layers="spaced").hand_over(other, teacher)
    CopyLayers(layers="spaced").hand_over(other, bart(decoder_attention_heads=2))
    with pytest.raises(UserError, match="encoder_attention_heads=3 and decoder_attention_heads=2"):
        SliceWidth(by="order", layers="spaced").hand_over(other, other)


@pytest.mark.parametrize(
    "start", [CopyLayers(layers="spaced"), SliceWidth(by="order", layers="last")]
)
def test_students_that_no_teacher_fits_are_refused(folders, start):
    teacher = opened("llama", folders / "llama")
    student = share(teacher, folders / "llama", depth=0.5, tie_word_embeddings=True)
    with pytest.raises(UserError, match=r"are one parameter of the student, .* two of the teacher"):
        start.hand_over(student, teacher)
    other = of_config("mistral", **SMALL)
    with pytest.raises(UserError, match=r"the student is a mistral .* and the teacher a llama"):
        start.hand_over(other, teacher)
    lora = LoraConfig(r=2, target_modules="all-linear")
    adapted = HFCausal(VOCAB, path=str(folders / "llama"), lora=lora)
    for begin in (start, Embeddings()):
        with pytest.raises(UserError, match=r"student_model\.lora trains adapters"):
            begin.hand_over(adapted, teacher)


def test_a_wider_student_and_other_positions_are_refused(folders):
    teacher = opened("gpt2", folders / "gpt2")
    start = SliceWidth(by="order", layers="spaced")
    for changes, message in (
        (dict(n_inner=60), r"has 60 entries where the teacher's .* has 48"),
        (dict(n_positions=30), r"has 30 entries where the teacher's .* has 40, and these are not"),
    ):
        with pytest.raises(UserError, match=message):
            start.hand_over(share(teacher, folders / "gpt2", **changes), teacher)


# Adapters and GGUF files.


def test_a_teacher_with_adapters_is_rehearsed_as_it_will_be_stored(folders):
    lora = LoraConfig(r=2, target_modules="all-linear")
    with torch.device("meta"):
        teacher = HFCausal(VOCAB, path=str(folders / "llama"), lora=lora)
        student = share(teacher, folders / "llama", width=TWO_THIRDS)
    SliceWidth(by="importance", layers="spaced").rehearse(student, teacher)
    assert teacher.adapted
    assert any("lora_" in name for name in teacher.state_dict())
    with pytest.raises(UserError, match="narrower"):
        SliceWidth(by="importance", layers="spaced").rehearse(teacher.merged(), student)


@torch.no_grad()
def test_a_student_is_cut_out_of_a_gguf_file(tmp_path):
    torch.manual_seed(5)
    make_gguf(tmp_path / "tiny.gguf", quantisable())
    teacher = HFCausal(GGUF_TOKENS, path=str(tmp_path / "tiny.gguf")).eval()
    half = share(teacher, tmp_path / "tiny.gguf", width=0.5, depth=0.5, tokens=GGUF_TOKENS)
    SliceWidth(by="importance", layers="first").hand_over(half, teacher)
    assert (half.inner.config.hidden_size, half.inner.config.num_key_value_heads) == (16, 1)
    assert half(BATCH).logits.isfinite().all()
    whole = share(teacher, tmp_path / "tiny.gguf", tokens=GGUF_TOKENS)
    SliceWidth(by="importance", layers="first").hand_over(whole, teacher)
    torch.testing.assert_close(whole(BATCH).logits, teacher(BATCH).logits, rtol=0, atol=0)


# A share of a structure.


@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_is_a_config_of_its_own(folders, family):
    kind = type(opened(family, folders / family))
    given = {"_target_": "any", "path": str(folders / family), "lora": "any", "attentions": True}
    made = kind.share(given, depth=0.5, width=TWO_THIRDS)
    assert json.loads(json.dumps(made)) == made
    assert (made["path"], made["lora"], made["attentions"]) == (None, None, True)
    student = kind(VOCAB, config=made["config"])
    theirs = transformers.AutoConfig.from_pretrained(folders / family).to_dict()
    ours = student.inner.config.to_dict()
    changed = {name for name in theirs | ours if theirs.get(name) != ours.get(name)}
    sizes = {"t5": {"num_layers", "num_decoder_layers", "d_model", "d_ff", "num_heads"}}
    sizes["t5_untied"] = sizes["t5"]
    sizes["gpt2"] = {"n_layer", "n_embd", "n_head"}
    parts = ("layers", "attention_heads", "ffn_dim")
    sizes["bart"] = {f"{side}coder_{part}" for side in ("en", "de") for part in parts} | {"d_model"}
    sizes["marian"] = sizes["bart"]
    sizes["llama"] = {"num_hidden_layers", "hidden_size", "intermediate_size"}
    sizes["llama"] |= {"num_attention_heads", "num_key_value_heads"}
    told_by_files = {"architectures", "dtype", "_name_or_path", "transformers_version"}
    extra = {"num_hidden_layers"} if family in ("bart", "marian") else set()
    assert changed - told_by_files - extra == sizes[family]
    again = kind.share({"config": made["config"]}, depth=1.0, width=1.0)
    assert again["config"] == made["config"]


@pytest.mark.parametrize(
    ("model_type", "given", "message"),
    [
        ("llama", SMALL, r"width of num_attention_heads: 0\.5 of the teacher's 3 is 1\.5"),
        ("bloom", dict(n_layer=2), "bloom says its feed-forward size by none of intermediate_size"),
        (
            "qwen2",
            SMALL
            | dict(num_attention_heads=2, num_key_value_heads=2)
            | dict(layer_types=["full_attention", "sliding_attention"]),
            r"qwen2 has layers of several kinds, layer_types=\['full_attention', 'sliding",
        ),
    ],
)
def test_a_structure_without_a_share_is_refused(model_type, given, message):
    settings = {"config": {"model_type": model_type, **given}}
    with pytest.raises(UserError, match=message):
        HFCausal.share(settings, depth=0.5, width=0.5)
    with pytest.raises(UserError, match="neither path nor config"):
        HFCausal.share({"path": None}, depth=0.5, width=0.5)

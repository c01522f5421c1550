"""Where the parameters of Hugging Face models come from, and where they are kept."""

import json
import re
import shutil
import sys

import gguf
import pytest
import torch
import transformers
from hf_checkpoints import (
    BART,
    FAMILIES,
    GGUF_TOKENS,
    LLAMA,
    SEQ2SEQ,
    T5,
    VOCAB,
    make_checkpoint,
    make_gguf,
    opened,
    quantisable,
    settings,
    theirs,
)
from peft import LoraConfig

from nlg_distill.data.batch import Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.hugging_face import place
from nlg_distill.init import CopyLayers
from nlg_distill.losses import nll
from nlg_distill.models import HFCausal, HFSeq2Seq

SPECIAL = SpecialIds(pad=0, begin=1, end=2)
BATCH = collate([Example(0, [3, 4], [5]), Example(1, [6], [7, 8, 9])], SPECIAL)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    make_checkpoint("llama", folder)
    return folder


def without(given, *names):
    return {name: value for name, value in given.items() if name not in names}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (HFCausal, without(LLAMA, "vocab_size") | {"model_type": "llama"}),
        (HFSeq2Seq, without(T5, "vocab_size") | {"model_type": "t5"}),
        (HFSeq2Seq, without(BART, "vocab_size") | {"model_type": "marian", "pad_token_id": 0}),
    ],
)
def test_a_config_makes_a_random_model_that_trains_and_is_found_again(kind, config, tmp_path):
    torch.manual_seed(1)
    model = kind(VOCAB, config=config)
    again = kind(VOCAB, config=config)
    assert not torch.equal(model(BATCH).hidden, again(BATCH).hidden)
    assert model.training
    assert model.network.training
    nll(model(BATCH).logits, BATCH.labels).sum().backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    assert len(moved) > 10
    model.eval().save(tmp_path)
    found = kind.load({"config": config}, tmp_path, VOCAB).eval()
    torch.testing.assert_close(found(BATCH).logits, model(BATCH).logits, rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_a_checkpoint_of_transformers(family, tmp_path):
    special = make_checkpoint(family, tmp_path / "first")
    model = opened(family, tmp_path / "first")
    (tmp_path / "second").mkdir()
    model.save(tmp_path / "second")
    network = theirs(family, tmp_path / "second")
    assert network.config.eos_token_id == special.end
    for name, value in theirs(family, tmp_path / "first").state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)


def test_what_a_checkpoint_leaves_out_is_not_trained(tmp_path):
    special = make_checkpoint("marian", tmp_path / "first")
    model = HFSeq2Seq(VOCAB, path=str(tmp_path / "first"))
    batch = collate([Example(0, [3, 4], [5]), Example(1, [6], [7, 8, 9])], special)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    nll(model.eval()(batch).logits, batch.labels).sum().backward()
    optimizer.step()
    (tmp_path / "second").mkdir()
    model.save(tmp_path / "second")
    again = opened("marian", tmp_path / "second")
    torch.testing.assert_close(again(batch).logits, model(batch).logits, rtol=0, atol=0)


def test_no_parameter_of_a_checkpoint_is_read_on_the_meta_device(llama, tmp_path):
    shutil.copy(llama / "config.json", tmp_path)
    with torch.device("meta"):
        model = HFCausal(VOCAB, path=str(tmp_path))
    whole = opened("llama", llama)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert shapes == {name: value.shape for name, value in whole.state_dict().items()}


# LoRA.


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_alone_are_trained_and_are_merged_where_it_is_saved(family, tmp_path):
    special = make_checkpoint(family, tmp_path / "first")
    batch = collate([Example(0, [3, 4], [5]), Example(1, [6], [7, 8, 9])], special)
    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules="all-linear")
    model = opened(family, tmp_path / "first", lora=lora)
    plain = opened(family, tmp_path / "first")(batch).logits
    torch.testing.assert_close(model(batch).logits, plain)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" not in n}
    for _ in range(3):
        optimizer.zero_grad()
        nll(model(batch).logits, batch.labels).sum().backward()
        optimizer.step()
    for name, before in frozen.items():
        assert torch.equal(before, model.get_parameter(name))
    trained = model(batch).logits
    assert not torch.allclose(trained, plain, atol=1e-2)
    (tmp_path / "second").mkdir()
    model.save(tmp_path / "second")
    assert not list((tmp_path / "second").glob("adapter*"))
    found = opened(family, tmp_path / "second")
    torch.testing.assert_close(found(batch).logits, trained, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(batch).logits, trained)
    assert any("lora_" in name for name, _ in model.named_parameters())  # a copy was merged


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (
            dict(target_modules=["q_prj"]),
            r"lora: .*q_prj.* There are down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, "
            r"v_proj; lora.target_modules=all-linear takes all",
        ),
        (dict(r=0), r"lora: [^.]*r[^.]* positive[^.]*$"),
        (dict(target_modules=["lm_head"]), "leave the output embeddings out"),
    ],
)
def test_adapters_that_fit_nowhere_are_refused(llama, lora, message):
    with pytest.raises(UserError, match=message):
        HFCausal(VOCAB, path=str(llama), lora=LoraConfig(**lora))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_adapters_of_embeddings_that_make_the_logits_too_are_refused(llama, tmp_path):
    special = make_checkpoint("llama", tmp_path, tie_word_embeddings=True)

    def lora():
        return LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"])

    with pytest.raises(UserError, match=r"leave the output embeddings out, and those of the input"):
        HFCausal(VOCAB, path=str(tmp_path), lora=lora())
    batch = collate([Example(0, [3, 4], [5])], special)
    model = HFCausal(VOCAB, path=str(llama), lora=lora()).eval()
    for name, value in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value)
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    again = opened("llama", tmp_path / "saved")
    torch.testing.assert_close(again(batch).logits, model(batch).logits, rtol=1e-4, atol=1e-4)


# GGUF.


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    return quantisable()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    make_gguf(path, network)
    return path


@torch.no_grad()
def test_a_gguf_file_is_dequantised(network, file):
    model = HFCausal(GGUF_TOKENS, path=str(file)).eval()
    own = {}
    for name, value in network.state_dict().items():
        own[name] = value
        if ".mlp." in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(value.numpy(), kind)
            own[name] = torch.from_numpy(gguf.quants.dequantize(packed, kind))
            assert not torch.equal(own[name], value)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, own[name], msg=name)
        assert value.dtype == torch.float32
    ids = torch.tensor([[5, 6, 7, 8]])
    network.load_state_dict(own)
    expected = network(input_ids=ids).logits[0, 1:]
    special = SpecialIds(pad=0, begin=1, end=2)
    found = model(collate([Example(0, [5, 6], [7, 8])], special)).logits[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_out_of_a_gguf_file_is_kept_as_a_checkpoint(file, tmp_path):
    model = HFCausal(GGUF_TOKENS, path=str(file)).eval()
    nll(model(BATCH).logits, BATCH.labels).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(value.grad.any() for value in model.network.parameters())  # a student, too
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


# What is refused.


def test_a_checkpoint_of_the_other_kind_is_refused(llama, tmp_path):
    with pytest.raises(UserError, match=r"decoder-only model \(llama\).*choose hf_causal, by "):
        HFSeq2Seq(VOCAB, path=str(llama))
    for family in SEQ2SEQ:
        make_checkpoint(family, tmp_path / family)
        with pytest.raises(UserError, match=r"an encoder-decoder .*choose hf_seq2seq, by "):
            HFCausal(VOCAB, path=str(tmp_path / family))


def test_files_that_are_not_what_they_should_be_are_refused(llama, tmp_path):
    with pytest.raises(UserError, match=r"no_folder: there is no such folder"):
        HFCausal(VOCAB, path=str(tmp_path / "no_folder"))
    with pytest.raises(UserError, match=r"there is no such file: give the path .* fetch-smollm2"):
        HFCausal(VOCAB, path=str(tmp_path / "no.gguf"))
    (tmp_path / "text.gguf").write_text("text")
    with pytest.raises(UserError, match=r"text.gguf is no GGUF file, .*: give another"):
        HFCausal(VOCAB, path=str(tmp_path / "text.gguf"))
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(UserError, match=r"cut.gguf holds no model"):
        HFCausal(VOCAB, path=str(tmp_path / "cut.gguf"))
    shutil.copytree(llama, tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for device in ("meta", "cpu"):
        with (
            torch.device(device),
            pytest.raises(UserError, match=r"torn has a damaged model.safetensors \(.*\): save"),
        ):
            HFCausal(VOCAB, path=str(tmp_path / "torn"))


def test_shards_that_are_not_there_are_refused(llama, tmp_path):
    network = transformers.AutoModelForCausalLM.from_pretrained(llama)
    network.save_pretrained(tmp_path, max_shard_size="1KB")
    with torch.device("meta"):
        HFCausal(VOCAB, path=str(tmp_path))
    first, *_ = sorted(tmp_path.glob("model-*.safetensors"))
    first.unlink()
    message = f"lacks {first.name}, which its model.safetensors.index.json names"
    with torch.device("meta"), pytest.raises(UserError, match=re.escape(message)):
        HFCausal(VOCAB, path=str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with torch.device("meta"), pytest.raises(UserError, match=r"damaged model\.safetensors\.index"):
        HFCausal(VOCAB, path=str(tmp_path))


def test_a_checkpoint_without_some_parameters_is_refused(llama, tmp_path):
    network = transformers.AutoModelForCausalLM.from_pretrained(llama)
    network.model.save_pretrained(tmp_path)  # without the output embeddings
    with pytest.raises(UserError, match=r"no values for 1 parameters .* lm_head.weight"):
        HFCausal(VOCAB, path=str(tmp_path))


def test_more_pieces_than_output_embeddings_are_refused(llama):
    with pytest.raises(UserError, match=f"embeddings of {VOCAB} tokens, .* {VOCAB + 1} pieces"):
        HFCausal(VOCAB + 1, path=str(llama))


def test_rows_beyond_the_pieces_get_no_probability(llama):
    whole, cut = opened("llama", llama), HFCausal(VOCAB - 3, path=str(llama)).eval()
    torch.testing.assert_close(cut(BATCH).logits, whole(BATCH).logits[..., : VOCAB - 3])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(hidden_size=8), "config needs a model_type"),
        (dict(model_type="none"), "config.model_type=none is no model"),
        (LLAMA | dict(model_type="llama"), "config.vocab_size is the tokenizer's"),
        (
            dict(model_type="llama", hiden_size=8),
            "hiden_size is no setting of llama: did you mean hidden_size",
        ),
    ],
)
def test_a_config_of_no_model_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        HFCausal(VOCAB, config=config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(model_type="t5", d_model="12"), r"config\.d_model=12: .* field 'd_model'.* got str"),
        (dict(model_type="llama", num_attention_heads=0), r"config\.num_attention_heads=0: Zero"),
        (dict(model_type="gpt2", n_embd=12, n_head=0), r"gpt2, .* config\.n_head=0 \(ZeroDivision"),
        (dict(model_type="bart", d_model=None), r"bart, .* config\.d_model=None \(TypeError"),
        (dict(model_type="llama", hidden_act="none"), r"config\.hidden_act=none \(KeyError"),
        (dict(model_type="bart", pad_token_id=99), r"config\.pad_token_id=99 \(AssertionError"),
        (dict(model_type="gpt2", n_layer=None), r"config\.n_layer=None: .* field 'n_layer'"),
        (
            dict(model_type="bart", encoder_attention_heads=0, decoder_attention_heads=0),
            r"bart, as a model of this config \(ZeroDivision",
        ),
    ],
)
def test_a_setting_that_makes_no_model_is_named(config, message):
    kind = HFSeq2Seq if config["model_type"] in ("t5", "bart") else HFCausal
    with torch.device("meta"), pytest.raises(UserError, match=message):
        kind(VOCAB, config=config)


def test_either_a_path_or_a_config_is_given(llama):
    config = without(LLAMA, "vocab_size") | {"model_type": "llama"}
    for given in ({}, dict(path=str(llama), config=config)):
        with pytest.raises(UserError, match="give either path"):
            HFCausal(VOCAB, **given)
    with pytest.raises(UserError, match="lora adapts a checkpoint"):
        HFCausal(VOCAB, config=config, lora=LoraConfig())


def test_models_that_do_more_to_their_logits_or_look_ahead_are_refused():
    sizes = without(LLAMA, "vocab_size")
    for model_type, own in (
        ("gemma2", {"head_dim": 4}),
        ("cohere", {}),
        ("granite", {"logits_scaling": 2.0}),
    ):
        with pytest.raises(UserError, match=f"{model_type} does more to its logits"):
            HFCausal(VOCAB, config=sizes | own | {"model_type": model_type})
    sizes = without(LLAMA, "vocab_size", "num_key_value_heads") | dict(model_type="bert")
    with pytest.raises(UserError, match="bert looks ahead"):
        HFCausal(VOCAB, config=sizes)


@pytest.mark.filterwarnings("ignore:.*is falling back to its reference PyTorch implementation")
@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (HFCausal, {"model_type": "roberta"}, "roberta does not count its positions from 0"),
        (HFCausal, {"model_type": "roformer"}, "roformer says other things token by token"),
        (HFCausal, {"model_type": "mamba"}, "this model keeps a LinearAttentionLayer of what it"),
        (HFCausal, {"model_type": "rwkv"}, "rwkv cannot write token by token here"),
        (HFSeq2Seq, {"model_type": "switch_transformers"}, "switch_transformers cannot write"),
    ],
)
def test_models_that_cannot_go_on_from_what_they_keep_are_refused(kind, config, message):
    if config["model_type"] in ("roberta", "roformer"):
        config = without(LLAMA, "vocab_size", "num_key_value_heads") | {"is_decoder": True} | config
    elif kind is HFSeq2Seq:
        config = without(T5, "vocab_size") | config
    else:
        config = {"hidden_size": 12, "num_hidden_layers": 2} | config
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=message):
        kind(VOCAB, config=config)
    assert not torch.equal(state, torch.get_rng_state())  # of the parameters


def test_trying_a_model_out_draws_nothing(monkeypatch):
    config = without(LLAMA, "vocab_size") | {"model_type": "llama"}
    torch.manual_seed(1)
    HFCausal(VOCAB, config=config)
    drawn = torch.rand(1)
    monkeypatch.setattr(HFCausal, "_refuse_other_arithmetic", lambda self: None)
    monkeypatch.setattr("nlg_distill.models.hf.with_larger_parameters", lambda model: model)
    torch.manual_seed(1)
    HFCausal(VOCAB, config=config)
    assert torch.equal(drawn, torch.rand(1))


def test_a_setting_that_changes_nothing_is_refused():
    config = without(LLAMA, "vocab_size") | {"model_type": "llama", "dtype": "bfloat16"}
    with pytest.raises(UserError, match=r"config\.dtype changes nothing"):
        HFCausal(VOCAB, config=config)


def test_layers_that_a_checkpoints_config_leaves_out_are_refused(llama, tmp_path):
    shutil.copytree(llama, tmp_path / "cut")
    settings = json.loads((llama / "config.json").read_text())
    (tmp_path / "cut" / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"such as model\.layers\.1\..*, of layers that its config"):
        HFCausal(VOCAB, path=str(tmp_path / "cut"))


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"rms_norm_eps": 0.1}])
def test_settings_that_no_parameter_shows_are_part_of_an_architecture(changes):
    config = without(LLAMA, "vocab_size") | {"model_type": "llama"}
    teacher, student = (HFCausal(VOCAB, config=given) for given in (config, config | changes))
    ((name, value),) = changes.items()
    with pytest.raises(UserError, match=rf"the student is a llama \(.*{name}={value}.* teacher a"):
        CopyLayers(layers="spaced").hand_over(student, teacher)


def test_settings_that_no_text_can_be_read_with_are_refused():
    config = {"model_type": "qwen3_moe", "num_experts": 2, "num_experts_per_tok": 4}
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)
    with pytest.raises(UserError, match=r"qwen3_moe with .* cannot read a text .*out of range"):
        HFCausal(9, config={**config, **sizes, "moe_intermediate_size": 8})


@pytest.mark.parametrize("source", [0, 1, 5])
def test_the_longest_text_that_fits_is_taken_and_the_next_is_not(llama, source):
    model = opened("llama", llama)
    fits = Example(0, [3] * source, [4] * (40 - max(source, 1)))
    model.refuse_too_long([fits])
    model(collate([fits], SPECIAL))
    longer = Example(0, fits.source_ids, [*fits.target_ids, 4])
    with pytest.raises(UserError, match="of 41 tokens are more than the 40"):
        model.refuse_too_long([longer])
    with pytest.raises(UserError, match="of 41 tokens are more than the 40"):
        model(collate([longer], SPECIAL))


def test_more_positions_than_the_model_has_are_refused(llama):
    model = opened("llama", llama)
    batch = collate([Example(0, [3] * 30, [4] * 12)], SPECIAL)
    with pytest.raises(UserError, match="sources with texts of 42 tokens are more than the 40"):
        model(batch)
    state = model.start(batch.source_ids[:, :30], batch.source_mask[:, :30])
    for _ in range(12):
        _, state = model.step(torch.tensor([[3]]), state)
    with pytest.raises(UserError, match="of 41 tokens are more than the 40"):
        model.step(torch.tensor([[3]]), state)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_padding_may_stand_beyond_the_context(family, tmp_path):
    special = make_checkpoint(family, tmp_path)
    model = opened(family, tmp_path)
    rows = [Example(0, [3] * 30, [4]), Example(1, [5], [6] * 30)]
    together = model(collate(rows, special)).logits
    for row, example in enumerate(rows):
        one = model(collate([example], special)).logits[0]
        torch.testing.assert_close(together[row, : len(one)], one, rtol=1e-4, atol=1e-5)


def test_without_the_extra_it_is_named(llama, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[hf\]'"):
        HFCausal(VOCAB, path=str(llama))


# What identifies a checkpoint.


def test_another_content_at_the_same_path_is_another_model(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    before = HFCausal.content({"path": str(folder)})
    assert set(before) == {f"model/{f.name}" for f in folder.iterdir()}
    assert HFCausal.content({"path": str(folder)}) == before
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    after = HFCausal.content({"path": str(folder)})
    assert {name for name in before if before[name] != after[name]} == {"model/model.safetensors"}
    assert HFCausal.content({"path": "organisation/model"}) == {}
    assert HFCausal.content({"config": {}}) == {}


def test_a_name_may_have_a_revision(tmp_path, monkeypatch):
    assert place("organisation/model@v1.0") == {
        "pretrained_model_name_or_path": "organisation/model",
        "revision": "v1.0",
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a@b").mkdir()
    for path in ("a@b", "organisation/model", "a@b/"):
        assert place(path) == {"pretrained_model_name_or_path": path}


def test_first_and_last_mebibyte_of_a_file_identify_it(tmp_path):
    file, content = tmp_path / "weights", bytearray(3 << 20)

    def identity(changed=None):
        file.write_bytes(content if changed is None else changed)
        return HFCausal.content({"path": str(file)})

    def at(place):
        return content[:place] + b"x" + content[place + 1 :]

    assert identity() == identity(at(3 << 19))
    others = [identity(at(0)), identity(at((3 << 20) - 1)), identity(content + b"x")]
    assert all(other != identity() for other in others)


# Layers of a teacher.


def shallower(family, folder, **depths):
    """A random student of these depths, or of two layers, and the teacher of three."""
    name, given, _ = settings(family)
    names = {"num_layers", "num_decoder_layers", "num_hidden_layers", "n_layer"}
    names |= {"encoder_layers", "decoder_layers"}
    make_checkpoint(family, folder, **dict.fromkeys(names & set(given), 3))
    kind = HFSeq2Seq if family in SEQ2SEQ else HFCausal
    model_type = getattr(transformers, name).model_type
    config = without(given, "vocab_size") | {"model_type": model_type} | depths
    return kind(VOCAB, config=config), opened(family, folder)


@pytest.mark.parametrize(("layers", "second"), [([0, 2], "2"), ("last", "2"), ([2, 1], "1")])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_takes_over_layers(family, layers, second, tmp_path):
    student, teacher = shallower(family, tmp_path)
    report = CopyLayers(layers=layers).hand_over(student, teacher)
    values, expected = student.state_dict(), teacher.state_dict()
    assert set(report) == set(values)
    seconds = [n for n in values if (layer := student.LAYER.search(n)) and layer[0] == "1"]
    assert len(seconds) > 5
    for n in seconds:
        assert torch.equal(values[n], expected[student.LAYER.sub(second, n, count=1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_give_the_teacher(family, tmp_path):
    make_checkpoint(family, tmp_path)
    name, given, _ = settings(family)
    kind = HFSeq2Seq if family in SEQ2SEQ else HFCausal
    config = without(given, "vocab_size") | {"model_type": getattr(transformers, name).model_type}
    student, teacher = kind(VOCAB, config=config).eval(), opened(family, tmp_path)
    assert not torch.allclose(student(BATCH).logits, teacher(BATCH).logits)
    CopyLayers(layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(BATCH).logits, teacher(BATCH).logits, rtol=0, atol=0)


@pytest.mark.parametrize("layers", ["last", [2], "first"])
def test_the_positions_that_one_layer_of_t5_holds_go_along(layers, tmp_path):
    student, teacher = shallower("t5", tmp_path, num_layers=1, num_decoder_layers=1)
    report = CopyLayers(layers=layers).hand_over(student, teacher)
    for stack in ("encoder", "decoder"):
        table = f"network.{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        assert report[table] == table
        query = f"network.{stack}.block.{{}}.layer.0.SelfAttention.q.weight"
        assert report[query.format(0)] == query.format(0 if layers == "first" else 2)


@pytest.mark.parametrize(
    ("layers", "encoder", "decoder"),
    [
        ("spaced", [0, 1, 2], [0]),
        ("last", [0, 1, 2], [2]),
        ([1], [0, 1, 2], [1]),
        ([2, 1, 0], [2, 1, 0], None),
        ("last", [1, 2], [2]),
        ("spaced", [0, 2], [0]),
    ],
)
def test_encoder_and_decoder_choose_among_their_own_layers(layers, encoder, decoder, tmp_path):
    sizes = dict(encoder_layers=len(encoder), decoder_layers=len(decoder or [0]))
    student, teacher = shallower("bart", tmp_path, **sizes)
    start = CopyLayers(layers=layers)
    if decoder is None:
        with pytest.raises(UserError, match=r"names 3 of .* student has 1 in .*decoder\.layers"):
            start.hand_over(student, teacher)
        return
    report = start.hand_over(student, teacher)
    for stack, chosen in {"encoder": encoder, "decoder": decoder}.items():
        name = f"network.model.{stack}.layers.{{}}.fc1.weight"
        assert [report[name.format(i)] for i in range(len(chosen))] == [*map(name.format, chosen)]

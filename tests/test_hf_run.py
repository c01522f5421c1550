"""Whole runs with Hugging Face checkpoints as teacher and as student, and what they leave."""

import json
import shutil

import pytest
import torch
import transformers
import yaml
from hf_checkpoints import make_gguf, make_whole, quantisable
from safetensors.torch import load_file
from test_run import settings, train, write_corpus

from nlg_distill.config import check, compose
from nlg_distill.data.corpus import Pair
from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.data.hygiene import Splitting
from nlg_distill.decoding import beam_search
from nlg_distill.errors import UserError
from nlg_distill.generate import chosen_writing, generate_texts
from nlg_distill.rehearsal import rehearse
from nlg_distill.stages.corpus import load_split
from nlg_distill.stages.models import load_model
from nlg_distill.stages.plan import plan
from nlg_distill.stages.teacher_text import load_teacher_text
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer

pytestmark = pytest.mark.slow

ROLES = ("student", "teacher")
LORA = "{_target_: peft.LoraConfig, r: 2, target_modules: all-linear}"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    lines = write_corpus(folder).read_text().splitlines()
    (folder / "numbers.tsv").write_text("\n".join([lines[0], *lines[1::8]]) + "\n")
    torch.manual_seed(2)
    make_whole("bart", folder / "bart", max_position_embeddings=128)
    make_whole("gpt2", folder / "gpt2", n_positions=128)
    make_gguf(folder / "llama.gguf", quantisable(max_position_embeddings=128))
    return folder


def pretrained(home, model, name, *, student=True, teacher=True):
    """A checkpoint in both places, as it is as a teacher."""
    path = home / name
    left_out = ("vocab_size", "_model", "splitting")
    ours = [o for o in settings(home) if not any(part in o for part in left_out)]
    chosen = ["data.splitting.validation=4", "data.splitting.test=4"]
    chosen += ["tokenizer@data.tokenizer=hf", f"data.tokenizer.path={path}"]
    if teacher:
        ours = [o for o in ours if not o.startswith("teacher_training")]
        chosen += ["training@teacher_training=none", f"model@teacher_model={model}"]
        chosen.append(f"teacher_model.path={path}")
    if student:
        chosen += [f"model@student_model={model}", f"student_model.path={path}"]
    return [*ours, *chosen]


def artifact(home, result, role="model"):
    return home / "artifacts" / result["artifacts"][role]


def plain(folder, auto):
    """Model and tokenizer as transformers alone opens them."""
    network = getattr(transformers, auto).from_pretrained(folder).eval()
    return network, transformers.AutoTokenizer.from_pretrained(folder)


def test_an_encoder_decoder_learns_from_one_that_is_taken_over_as_it_is(home):
    overrides = pretrained(home, "hf_seq2seq", "bart")
    result = train([*overrides, "experiment=word_kd"], home / "runs" / "bart")
    teacher, student = artifact(home, result, "teacher"), artifact(home, result)
    assert result["steps"] == 2
    first, kept, trained = (
        load_file(folder / "model.safetensors") for folder in (home / "bart", teacher, student)
    )
    assert all(torch.equal(kept[name], value) for name, value in first.items())
    assert not all(torch.equal(trained[name], value) for name, value in first.items())
    facts = json.loads((teacher / "training.json").read_text())
    assert (facts["steps"], facts["training_seconds"]) == (0, 0.0)


@torch.no_grad()
def test_the_folder_of_a_student_is_enough_for_transformers(home):
    overrides = [*pretrained(home, "hf_seq2seq", "bart"), "experiment=word_kd"]
    student = artifact(home, train(overrides, home / "runs" / "bart_again"))
    network, tokenizer = plain(student, "AutoModelForSeq2SeqLM")
    ours, own = load_model(student), load_tokenizer(student)
    text = "eins zwei fünf"
    ids = tokenizer([text], return_tensors="pt")["input_ids"]
    assert [[*own.encode_sources([text])[0], own.special.end]] == ids.tolist()
    read = torch.tensor([[own.special.begin, *own.encode_targets(["one"])[0]]])
    state = ours.start(ids, torch.ones_like(ids, dtype=torch.bool))
    for time in range(read.shape[1]):
        output, state = ours.step(read[:, time : time + 1], state)
    expected = network(input_ids=ids, decoder_input_ids=read).logits[:, -1]
    torch.testing.assert_close(output.logits[:, 0], expected, rtol=1e-4, atol=1e-4)
    written = network.generate(ids, max_new_tokens=5, do_sample=False)
    assert isinstance(tokenizer.batch_decode(written)[0], str)
    assert len(generate_texts(student, [text], chosen_writing(beam=2))) == 1


def test_a_language_model_is_asked_as_it_was_trained(home, tmp_path, monkeypatch):
    """BART's tokenizer puts a token before every source, also before an empty one."""
    overrides = [*pretrained(home, "hf_seq2seq", "bart"), "experiment=word_kd"]
    shutil.copytree(artifact(home, train(overrides, home / "runs" / "asked")), tmp_path / "lm")
    config = yaml.safe_load((tmp_path / "lm" / "config.yaml").read_text())
    (tmp_path / "lm" / "config.yaml").write_text(
        yaml.safe_dump(config | {"task": {"writes": False}})
    )
    asked = []

    def seen(examples, *rest):
        asked.extend(examples)
        return fixed_batches(examples, *rest)

    monkeypatch.setattr("nlg_distill.continuation.fixed_batches", seen)
    generate_texts(tmp_path / "lm", ["one", "two three"], chosen_writing(beam=1), max_tokens=4)
    own = load_tokenizer(tmp_path / "lm")
    pairs = encode_pairs([Pair("", "one"), Pair("", "two three")], own)
    assert sorted(e.source_ids for e in asked) == [pair.source_ids for pair in pairs]
    assert pairs[0].source_ids


def test_adapters_of_a_decoder_only_student_are_merged(home):
    overrides = [
        *pretrained(home, "hf_causal", "gpt2"),
        f"student_model.lora={LORA}",
        "data.tokenizer.prompt='German: {source} English:'",
        "experiment=word_kd",
    ]
    result = train(overrides, home / "runs" / "gpt2")
    student = artifact(home, result)
    network, tokenizer = plain(student, "AutoModelForCausalLM")
    first, last = load_file(home / "gpt2" / "model.safetensors"), network.state_dict()
    moved = {n for n, value in first.items() if not torch.equal(value, last[n])}
    assert moved
    assert all(".c_attn." in n or ".c_proj." in n or ".c_fc." in n for n in moved), moved
    (ids,) = load_tokenizer(student).encode_sources(["eins"])
    assert tokenizer.decode(ids) == "German: eins English:"


@pytest.mark.parametrize(
    "method",
    [
        ["experiment=seq_kd"],
        [
            "loss=[nll,hidden_mse]",
            *(f"loss.hidden_mse.{w}_size=32" for w in ("student", "teacher")),
        ],
        ["teacher=cached", "experiment=word_kd"],
    ],
)
def test_a_gguf_file_teaches_a_student_of_ours(home, method):
    overrides = pretrained(home, "hf_causal", "llama.gguf", student=False)
    student = ["model@student_model=gpt_tiny", "student_model.hidden_size=32"]
    result = train([*overrides, *student, *method], home / "runs" / method[0])
    assert result["steps"] == 2
    teacher = artifact(home, result, "teacher")
    network, tokenizer = plain(teacher, "AutoModelForCausalLM")
    assert network.config.model_type == "llama"
    assert tokenizer("abcab")["input_ids"] == load_tokenizer(teacher).encode_sources(["abcab"])[0]


@pytest.mark.parametrize("student", ["gpt_tiny", "lstm_32"])
def test_a_checkpoint_with_a_tokenizer_of_its_own_writes_for_a_student_of_ours(home, student):
    path = home / "gpt2"
    ours = [o for o in settings(home) if not o.startswith(("teacher_training", "student_model"))]
    ours = [o for o in ours if "_model=" not in o and "splitting" not in o]
    ours += ["data.splitting.validation=4", "data.splitting.test=4"]
    teacher = ["training@teacher_training=none", "model@teacher_model=hf_causal"]
    teacher += ["tokenizer@teacher_tokenizer=hf"]
    teacher += [f"{part}.path={path}" for part in ("teacher_model", "teacher_tokenizer")]
    overrides = [*ours, *teacher, f"model@student_model={student}", "experiment=seq_kd"]
    overrides.append("trainer.precision=32-true")  # a random model's texts are almost ties
    result = train(overrides, home / "runs" / f"own_tokenizer_{student}")
    assert result["steps"] == 2
    kept = [load_tokenizer(artifact(home, result, role)) for role in ("model", "teacher")]
    assert [tokenizer.vocab_size for tokenizer in kept] == [44, len(plain_tokenizer(path))]
    text = plan(compose(overrides), overrides).subject.parents["teacher_text"]
    folder = home / "artifacts" / "teacher_text" / text.key
    pairs = load_split(artifact(home, result, "corpus"), "train")
    (ids,) = kept[1].encode_sources([pairs[0].source])
    with torch.inference_mode():
        (found,) = beam_search(
            load_model(artifact(home, result, "teacher")),
            torch.tensor([[*ids, kept[1].special.end]]),
            torch.ones(1, len(ids) + 1, dtype=torch.bool),
            kept[1].special,
            beam_size=text.config["writing"]["beam_size"],
        )
    assert load_teacher_text(folder)[0][0].text == kept[1].decode([found[0].token_ids])[0]


def plain_tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_a_checkpoint_that_is_trained_further_is_a_teacher_too(home):
    overrides = pretrained(home, "hf_causal", "gpt2", student=False, teacher=False)
    teacher = ["model@teacher_model=hf_causal", f"teacher_model.path={home / 'gpt2'}"]
    result = train([*overrides, *teacher, "stage=teacher"], home / "runs" / "teacher")
    assert result["steps"] == 2


def half(home, model, name, *more):
    """A student that is half its teacher, cut out of it."""
    overrides = pretrained(home, model, name, student=False)
    chosen = ["model@student_model=from_teacher", "init=slice_width", "experiment=word_kd"]
    return [o for o in overrides if not o.startswith("student_model.")] + [*chosen, *more]


@torch.no_grad()
def test_a_student_is_half_its_teacher_and_cut_out_of_it(home):
    make_whole("bart", home / "wide", d_model=16, max_position_embeddings=128, **EVEN)
    overrides = half(home, "hf_seq2seq", "wide", "student_model.depth=0.5")
    student = artifact(home, train(overrides, home / "runs" / "half"))
    network, tokenizer = plain(student, "AutoModelForSeq2SeqLM")
    wanted = (network.config.d_model, network.config.decoder_layers, network.config.vocab_size)
    assert wanted == (8, 1, len(tokenizer))
    assert network.config.decoder_attention_heads == 2
    ids = tokenizer("eins", return_tensors="pt")["input_ids"]
    assert isinstance(network.generate(ids, max_new_tokens=3), torch.Tensor)
    report = json.loads((student / "init.json").read_text())
    assert set(report) == {f"network.{name}" for name in network.state_dict()}
    assert all(" cut to " in source for source in report.values())
    assert len(generate_texts(student, ["eins zwei"], chosen_writing(beam=2))) == 1


EVEN = {f"{side}coder_attention_heads": 4 for side in ("en", "de")}


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("llama.gguf", [], None),
        ("llama.gguf", ["init=embeddings"], None),
        ("llama.gguf", ["student_model.width=0.25"], "width of num_key_value_heads: 0.25 of"),
        ("llama.gguf", ["student_model.hidden_size=16"], "none to set.*leave it out"),
        ("gpt2", [], r"width of n_head: 0\.5 of the teacher's 3 is 1\.5"),
        ("gpt2", ["student_model.width=1.0", "init=copy_layers", "init.layers=[1]"], None),
    ],
)
def test_a_share_of_a_checkpoint_is_planned(home, name, more, message):
    cfg = compose(half(home, "hf_causal", name, *more))
    if message is not None:
        with pytest.raises(UserError, match=message):
            checked(cfg)
        return
    checked(cfg)
    student = plan(cfg, []).subject.config["model"]
    assert (student["path"], student["lora"]) == (None, None)
    assert "vocab_size" not in student["config"]


# Keys.


def test_another_checkpoint_at_the_same_path_is_another_teacher_and_tokenizer(home, tmp_path):
    overrides = [*pretrained(home, "hf_seq2seq", "bart"), "experiment=word_kd"]

    def keys():
        stages = plan(compose(overrides), overrides).scores.ancestry()
        return {stage.name: stage.key for stage in stages}

    before = keys()
    assert before == keys()
    weights = home / "bart" / "model.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        after = keys()
    finally:
        weights.write_bytes(content)
    assert {name for name in before if before[name] == after[name]} == {"corpus"}


def test_a_random_student_may_start_from_another(home):
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 40}
    sizes |= {f"{side}coder_attention_heads": 2 for side in ("en", "de")}
    sizes["decoder_start_token_id"] = 2
    config = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    ours = [o for o in settings(home) if "student_model" not in o]
    student = ["model@student_model=hf_seq2seq", "student_model.path=null"]
    student.append(f"+student_model.config={{model_type: marian, {config}}}")
    overrides = [*ours, *student, "init=experiment"]
    cfg = compose(overrides)
    checked(cfg)
    assert "init" in plan(cfg, overrides).subject.parents


# What is refused before anything starts.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model@student_model=hf_causal"], "student_model: .* is an encoder-decoder"),
        (["data.tokenizer.path={home}/nowhere"], "data.tokenizer: .*nowhere: there is no such"),
        (["data.tokenizer.path={home}/gpt2"], "data.tokenizer must be that of the model"),
        (["training@student_training=none"], "a student is trained"),
        (["model@teacher_model=lstm_32"], "not a teacher at random"),
        (["teacher_model.lora=" + LORA], "not teacher_model.lora"),
        (["student_model.lora={_target_: peft.LoraConfig, rank: 2}"], "lora.rank is not an arg"),
        (["data.tokenizer.prompt=translate"], "data.tokenizer: prompt must have"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(home, changes, message):
    overrides = pretrained(home, "hf_seq2seq", "bart")
    given = {change.split("=")[0] for change in changes}
    kept = [o for o in overrides if o.split("=")[0] not in given]
    if "training@student_training" in given:
        kept = [o for o in kept if not o.startswith("student_training")]
    if "model@teacher_model" in given:
        kept = [o for o in kept if not o.startswith("teacher_model")]
    cfg = compose([*kept, *(change.replace("{home}", str(home)) for change in changes)])
    with pytest.raises(UserError, match=message):
        checked(cfg)


def checked(cfg):
    check(cfg)
    rehearse(cfg)


def test_a_test_text_beyond_the_context_is_refused_before_the_first_step(home):
    """Not after the training, when it is scored."""
    header, *lines = (home / "numbers.tsv").read_text().splitlines()
    lines.append("eins " * 30 + "\tone")
    (home / "long.tsv").write_text("\n".join([header, *lines]) + "\n")
    pairs = [Pair(*line.strip().split("\t")) for line in lines]
    seed = next(
        seed
        for seed in range(100)
        if pairs[-1] in Splitting(validation=4, test=4, seed=seed)(pairs)["test"]
    )
    overrides = [o for o in pretrained(home, "hf_causal", "gpt2") if "corpus.path" not in o]
    overrides += [f"data.corpus.path={home}/long.tsv", f"data.splitting.seed={seed}"]
    with pytest.raises(UserError, match=r"sources with texts of \d+ tokens are more than the 128"):
        train([*overrides, "student_training.max_tokens=60"], home / "runs" / "long_test")
    assert not list((home / "runs" / "long_test").glob("curves/*"))


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_teacher_whose_tokens_have_no_places_is_refused_by_what_compares_spans(home):
    make_whole("marian", home / "marian")
    ours = [o for o in settings(home) if "teacher_" not in o]
    teacher = ["tokenizer@teacher_tokenizer=hf", f"teacher_tokenizer.path={home}/marian"]
    teacher += ["training@teacher_training=none", "model@teacher_model=hf_seq2seq"]
    overrides = [*ours, *teacher, f"teacher_model.path={home}/marian"]
    checked(compose([*overrides, "experiment=seq_kd"]))
    message = "teacher_tokenizer: a MarianTokenizer cannot tell where its tokens stand"
    with pytest.raises(UserError, match=message):
        checked(compose([*overrides, "loss=[nll,span_kl]"]))


def test_texts_beyond_the_context_are_refused_before_the_first_step(home):
    overrides = pretrained(home, "hf_causal", "gpt2")
    prompt = "data.tokenizer.prompt='" + "a" * 120 + "{source}'"
    with pytest.raises(UserError, match=r"sources with texts of \d+ tokens are more than the 128"):
        train([*overrides, prompt, "student_training.max_tokens=200"], home / "runs" / "long")


def test_a_student_with_too_few_positions_costs_no_training_of_a_teacher(home, tmp_path):
    overrides = [*pretrained(home, "hf_causal", "gpt2", teacher=False), "experiment=word_kd"]
    overrides += ["data.tokenizer.prompt='" + "a" * 120 + "{source}'"]
    overrides += ["student_training.max_tokens=200", f"paths.artifacts={tmp_path}/artifacts"]
    with pytest.raises(UserError, match=r"sources with texts of \d+ tokens are more than the 128"):
        train(overrides, tmp_path / "run")
    stages = {path.parent.parent.name for path in tmp_path.glob("artifacts/*/*/metadata.json")}
    assert stages == {"corpus", "tokenizer"}


def test_a_teacher_as_it_is_that_cannot_read_the_test_set_is_refused(home):
    overrides = [*pretrained(home, "hf_causal", "gpt2", student=False), "experiment=teacher"]
    prompt = "data.tokenizer.prompt='" + "a" * 121 + "{source}'"
    before = {*home.glob("artifacts/teacher/*/training.json")}
    with pytest.raises(UserError, match=r"sources with texts of \d+ tokens are more than the 128"):
        train([*overrides, prompt], home / "runs" / "long_teacher")
    assert {*home.glob("artifacts/teacher/*/training.json")} == before

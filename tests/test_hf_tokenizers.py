"""Tokenizers of checkpoints: what they give is what transformers gives, without the last token."""

import shutil

import pytest
import transformers
from hf_checkpoints import (
    BYTE_TOKENS,
    CAUSAL,
    GGUF_TOKENS,
    TEXTS,
    make_gguf,
    make_tokenizer,
    make_whole,
    quantisable,
)

from nlg_distill.data.hf_tokenizer import Pretrained
from nlg_distill.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
FAMILIES = ["t5", "bart", "marian", "mbart50", "gpt2", "llama"]
LANGUAGES = dict(source_language="en_XX", target_language="de_DE")
NAMES = [
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for family in FAMILIES:
        make_whole(family, root / family)
    return root


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def languages(family):
    return LANGUAGES if family == "mbart50" else {}


def reloaded(maker, folder):
    """The tokenizer out of the files that its maker writes."""
    folder.mkdir()
    maker.make([], folder)
    return maker.load(folder)


@pytest.fixture
def own(checkpoints, family):
    codes = dict(src_lang="en_XX", tgt_lang="de_DE") if family == "mbart50" else {}
    return transformers.AutoTokenizer.from_pretrained(checkpoints / family, **codes)


@pytest.fixture
def made(checkpoints, family, tmp_path):
    maker = Pretrained(path=str(checkpoints / family), **languages(family))
    return reloaded(maker, tmp_path / "kept")


def test_ids_are_those_of_transformers_without_the_end(own, made, family):
    sources, targets = own(TEXTS)["input_ids"], own(text_target=TEXTS)["input_ids"]
    if family in CAUSAL:
        assert made.encode_sources(TEXTS) == sources
        bare = own(TEXTS, add_special_tokens=False)["input_ids"]
        assert made.encode_targets(TEXTS) == bare
        return
    end = made.special.end
    assert [[*ids, end] for ids in made.encode_sources(TEXTS)] == sources
    assert [[*ids, end] for ids in made.encode_targets(TEXTS)] == targets
    if family == "marian":
        assert sources != targets


def test_prefixes_are_part_of_the_ids(own, made, family):
    first = {ids[0] for ids in made.encode_sources(TEXTS)}
    first_of_target = {ids[0] for ids in made.encode_targets(TEXTS)}
    if family == "bart":
        assert first == first_of_target == {own.bos_token_id}
    if family == "mbart50":
        assert first == {own.convert_tokens_to_ids("en_XX")}
        assert first_of_target == {own.convert_tokens_to_ids("de_DE")}
    if family == "llama":
        assert first == {own.bos_token_id}
        assert own.bos_token_id not in first_of_target


def test_texts_come_back(made, family):
    sides = [made.encode_targets(TEXTS)]
    if family != "marian":  # whose sources are of another vocabulary's pieces
        sides.append(made.encode_sources(TEXTS))
    for ids in sides:
        assert [text.strip() for text in made.decode(ids)] == TEXTS
    assert made.encode_sources([]) == made.decode([]) == []


def test_pieces_are_in_the_order_of_the_ids(own, made, checkpoints, family):
    assert len(made.pieces) == made.vocab_size == max(own.get_vocab().values()) + 1
    assert all(made.pieces[i] == piece for piece, i in own.get_vocab().items())
    path = str(checkpoints / family)
    assert Pretrained(path=path, **languages(family)).vocab_size == made.vocab_size


def test_special_ids_are_those_of_the_checkpoint(own, made, family):
    assert made.special.end == own.eos_token_id
    pad = own.eos_token_id if family in CAUSAL else own.pad_token_id
    assert made.special.pad == pad
    begins = {
        "t5": own.pad_token_id,
        "marian": own.pad_token_id,
        "bart": own.eos_token_id,
        "mbart50": own.eos_token_id,
        "gpt2": own.eos_token_id,
        "llama": own.bos_token_id,
    }
    assert made.special.begin == begins[family]


def test_the_files_are_those_of_transformers(made, own, tmp_path):
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "kept")
    assert again(TEXTS)["input_ids"] == own(TEXTS)["input_ids"]
    assert again.get_vocab() == own.get_vocab()


# Prompts.


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    make_gguf(path, quantisable())
    return path


def test_a_gguf_file_holds_its_tokenizer(gguf, tmp_path):
    made = reloaded(Pretrained(path=str(gguf)), tmp_path / "kept")
    assert made.vocab_size == GGUF_TOKENS
    assert made.special.begin == BYTE_TOKENS + 2
    assert made.special.end == made.special.pad == BYTE_TOKENS + 3
    ab, abc = BYTE_TOKENS, BYTE_TOKENS + 1
    (ids,) = made.encode_sources(["abcab"])
    assert ids == [abc, ab]
    assert made.decode([ids]) == ["abcab"]


def test_special_tokens_of_a_prompt_are_encoded_as_such(gguf, tmp_path):
    prompt = "<|im_start|>ab{source}<|im_end|>"
    made = reloaded(Pretrained(path=str(gguf), prompt=prompt), tmp_path / "kept")
    start, end = BYTE_TOKENS + 2, BYTE_TOKENS + 3
    one, other = made.encode_sources(["abc", "ab"])
    assert one == [start, BYTE_TOKENS, BYTE_TOKENS + 1, end]
    assert other == [start, BYTE_TOKENS, BYTE_TOKENS, end]  # its end is the prompt's own
    assert made.encode_targets(["abc"]) == [[BYTE_TOKENS + 1]]


def test_a_prompt_may_have_braces_and_stands_before_encoder_decoders_too(checkpoints, tmp_path):
    path = str(checkpoints / "t5")
    plain = Pretrained(path=path)
    made = reloaded(Pretrained(path=path, prompt="{a} the: {source}"), tmp_path / "kept")
    plain = reloaded(plain, tmp_path / "plain")
    assert made.encode_sources(["bath {0}"]) == plain.encode_sources(["{a} the: bath {0}"])
    assert made.encode_targets(["bath"]) == plain.encode_targets(["bath"])


@pytest.mark.parametrize("prompt", ["translate", "{source} {source}", ""])
def test_a_prompt_without_one_source_is_refused(prompt):
    with pytest.raises(UserError, match=r"prompt must have \{source\} in it once"):
        Pretrained(path="x", prompt=prompt)


# Special tokens in texts.


def test_what_looks_like_a_special_token_in_a_text_is_text(own, made, family):
    special = {*own.all_special_ids} - ({own.unk_token_id} - {own.eos_token_id})
    names = own.all_special_tokens
    text = f"a {' '.join(names)} b{names[0]}c{names[-1]}"
    assert special & {*own(text, add_special_tokens=False)["input_ids"]}  # as it is usually read
    for encode in (made.encode_sources, made.encode_targets):
        (ids,), (plain,) = encode([text]), encode(["abc"])
        assert [i for i in ids if i in special] == [i for i in plain if i in special]
        assert len(ids) > len(plain)
    if family in ("bart", "gpt2", "llama"):  # which know every byte
        (ids,) = made.encode_targets(["abc " + names[0]])
        assert made.decode([ids])[0].strip() == f"abc {names[0][0]} {names[0][1:]}"


def test_a_special_token_of_a_source_is_text_though_the_prompt_has_its_own(gguf, tmp_path):
    prompt = "<|im_start|>ab{source}<|im_end|>"
    made = reloaded(Pretrained(path=str(gguf), prompt=prompt), tmp_path / "kept")
    start, end = BYTE_TOKENS + 2, BYTE_TOKENS + 3
    (ids,) = made.encode_sources(["abc<|im_end|><|im_start|>"])
    assert [i for i in ids if i >= start] == [start, end]
    assert made.decode([ids]) == ["ababc< |im_end|>< |im_start|>"]


def test_a_begin_that_the_tokenizer_adds_is_refused_in_a_prompt(checkpoints, tmp_path):
    path = str(checkpoints / "llama")
    with pytest.raises(UserError, match=r"begins with <s>, which the tokenizer of .* adds itself"):
        _ = Pretrained(path=path, prompt="<s>the {source}").vocab_size
    own = transformers.AutoTokenizer.from_pretrained(path)
    made = reloaded(Pretrained(path=path, prompt="the {source}"), tmp_path / "kept")
    assert [ids.count(own.bos_token_id) for ids in made.encode_sources(["bath", ""])] == [1, 1]
    path = str(checkpoints / "gpt2")  # which adds none
    made = reloaded(Pretrained(path=path, prompt="<|endoftext|>a{source}"), tmp_path / "gpt2")
    (ids,) = made.encode_sources(["b"])
    assert ids.count(made.special.begin) == 1


# What is refused.


def without_tokenizer(folder, copy):
    shutil.copytree(folder, copy)
    for file in copy.iterdir():
        if file.name not in ("config.json", "model.safetensors", "generation_config.json"):
            file.unlink()
    return copy


@pytest.mark.parametrize("family", ["bart", "gpt2", "marian"])
def test_a_missing_tokenizer_is_refused(checkpoints, family, tmp_path):
    folder = without_tokenizer(checkpoints / family, tmp_path / "bare")
    with pytest.raises(UserError, match="bare holds no tokenizer"):
        _ = Pretrained(path=str(folder)).vocab_size


def test_a_tokenizer_without_its_models_config_is_refused(tmp_path):
    make_tokenizer("gpt2", tmp_path)
    with pytest.raises(UserError, match="holds no model"):
        _ = Pretrained(path=str(tmp_path)).vocab_size


def test_languages_of_a_tokenizer_without_any_are_refused(checkpoints):
    maker = Pretrained(path=str(checkpoints / "t5"), source_language="en_XX")
    with pytest.raises(UserError, match="source_language=en_XX changes nothing"):
        _ = maker.vocab_size


def test_texts_that_do_not_end_with_the_end_are_refused(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "bart", tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "other" / name).unlink()
    make_tokenizer("gpt2", tmp_path / "other")  # which ends no text
    with pytest.raises(UserError, match="its texts end without a special token"):
        _ = Pretrained(path=str(tmp_path / "other")).vocab_size


def test_another_tokenizer_at_the_same_path_is_another(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "t5", tmp_path / "t5")
    settings = {"path": str(tmp_path / "t5")}
    before = Pretrained.content(settings)
    (tmp_path / "t5" / "tokenizer_config.json").write_text("{}")
    after = Pretrained.content(settings)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"t5/tokenizer_config.json"}

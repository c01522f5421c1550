"""The decoder-only model: against PyTorch's own layers, its positions, its gap, its features."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import FAMILIES, SPECIAL, toy_examples, toy_structure
from loss_cases import configured
from torch import nn
from transformers import GPT2Config, GPT2Model

from nlg_distill.data.batch import Example, collate
from nlg_distill.decoding import beam_search, sample
from nlg_distill.errors import UserError
from nlg_distill.init import CopyLayers, SliceWidth
from nlg_distill.losses import nll
from nlg_distill.models import GPT, attention
from nlg_distill.models.attention import Attended, rotated, sinusoids
from nlg_distill.teachers.signal import TeacherSignal

OTHERS = [name for name in FAMILIES if "gpt" not in name]
EXACT = dict(rtol=0, atol=1e-12)
REST = dict(feed_forward_size=20, dropout=0.0)


def decoder_only(vocab_size=7, **changes):
    sizes = dict(hidden_size=8, num_layers=2, num_heads=2, feed_forward_size=20, dropout=0.0)
    model = GPT(vocab_size, **({"max_positions": None} | sizes | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # norms matter too
    return model.eval()


@pytest.fixture
def batch():
    return collate(toy_examples(5), SPECIAL)


def pytorch_stack(model):
    """PyTorch's own layers with the weights of a model; they know no positions."""
    layer = nn.TransformerEncoderLayer(
        d_model=8,
        nhead=2,
        dim_feedforward=20,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
        bias=False,
        dtype=torch.float64,
    )
    stack = nn.TransformerEncoder(layer, 2, model.decoder_norm, enable_nested_tensor=False)
    for theirs, ours in zip(stack.layers, model.decoder, strict=True):
        with torch.no_grad():
            looks = [ours.attention.query.weight, ours.attention.key_value.weight]
            theirs.self_attn.in_proj_weight.copy_(torch.cat(looks))
        theirs.self_attn.out_proj.load_state_dict(ours.attention.output.state_dict())
        theirs.linear1.load_state_dict(ours.expand.state_dict())
        theirs.linear2.load_state_dict(ours.contract.state_dict())
        theirs.norm1.load_state_dict(ours.attention_norm.state_dict())
        theirs.norm2.load_state_dict(ours.feed_forward_norm.state_dict())
    return stack.eval()


def rows_without_gap(batch):
    """Source and text of every example in one row, with their lengths."""
    for row, mask in enumerate(batch.source_mask):
        source = batch.source_ids[row, mask]
        text = batch.decoder_input_ids[row, batch.target_mask[row]]
        yield row, torch.cat([source, text]), len(source), len(text)


def test_layers_are_those_of_pytorch_where_nothing_is_turned(batch, monkeypatch):
    monkeypatch.setattr(attention, "rotated", lambda states, waves: states)
    model = decoder_only().double()
    stack, output = pytorch_stack(model), model(batch)
    states = output.features.hidden_states
    for row, ids, source, text in rows_without_gap(batch):
        behind = ~torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        expected = stack(model.embedding.weight[ids][None], mask=behind)[0]
        torch.testing.assert_close(output.hidden[row, :text], expected[source:], **EXACT)
        torch.testing.assert_close(states["encoder"][row, :source], expected[:source], **EXACT)
        logits = expected[source:] @ model.embedding.weight.T
        torch.testing.assert_close(output.logits[row, :text], logits, **EXACT)


def turned(states, positions):
    """Rotary positions as products of complex numbers."""
    width = states.shape[-1]
    pairs = torch.complex(*states.double().chunk(2, dim=-1))
    rates = torch.tensor([10_000 ** (-2 * i / width) for i in range(width // 2)])
    angles = positions[:, None].double() * rates.double()
    product = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([product.real, product.imag], dim=-1)


def test_rotary_positions_are_complex_products():
    states, positions = torch.randn(3, 2, 5, 8), torch.tensor([0, 1, 2, 40, 1000])
    found = rotated(states, sinusoids(positions, 8)[None])
    expected = turned(states, positions).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, :, 0], states[:, :, 0])
    torch.testing.assert_close(found.norm(dim=-1), states.norm(dim=-1))


def test_what_a_query_finds_in_a_key_depends_on_how_far_they_are_apart():
    query, key = torch.randn(2, 1, 1, 1, 8)

    def product(at_query, at_key):
        sides = (query, at_query), (key, at_key)
        one, other = (rotated(s, sinusoids(torch.tensor([[at]]), 8)) for s, at in sides)
        return (one * other).sum()

    torch.testing.assert_close(product(7, 3), product(104, 100))
    assert not torch.isclose(product(7, 3), product(3, 7))
    assert not torch.isclose(product(7, 3), product(7, 4))


def test_half_precision_turns_by_exact_angles():
    states, waves = torch.randn(2, 2, 3, 8), sinusoids(torch.tensor([[1, 50, 3000]]), 8)
    half = states.bfloat16()
    expected = rotated(half.float(), waves).bfloat16()
    torch.testing.assert_close(rotated(half, waves), expected, rtol=0, atol=0)


def test_attention_at_joined_positions_is_that_of_the_definition(batch):
    model = decoder_only(num_layers=1).double()
    features = model(batch).features
    attentions, values = features.attentions["cross"], features.values
    block, width = model.decoder[0], batch.source_ids.shape[1]
    for row, ids, source, text in rows_without_gap(batch):
        normed = block.attention_norm(model.embedding(ids))
        queries, keys = (
            linear(normed)[:, :8].unflatten(-1, (2, 4)).transpose(0, 1)
            for linear in (block.attention.query, block.attention.key_value)
        )
        queries, keys = (turned(side, torch.arange(len(ids))) for side in (queries, keys))
        scores = queries @ keys.transpose(1, 2) / math.sqrt(4)
        behind = ~torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        expected = scores.masked_fill(behind, -math.inf).softmax(-1)[:, source:]
        found = attentions[row, :, :text]
        close = dict(rtol=0, atol=1e-6)  # angles are in single precision
        torch.testing.assert_close(found[:, :, :source], expected[:, :, :source], **close)
        seen = found[:, :, width : width + text]
        torch.testing.assert_close(seen, expected[:, :, source:], **close)
        held = block.attention.key_value(normed)[:, 8:].unflatten(-1, (2, 4)).transpose(0, 1)
        torch.testing.assert_close(values["cross"][row, :, :source], held[:, :source], **EXACT)
        torch.testing.assert_close(values["decoder"][row, :, :text], held[:, source:], **EXACT)
        assert (found[:, :, source:width] == 0).all()
        assert (found[:, :, width + text :] == 0).all()


def test_a_source_reads_on_into_the_text():
    """Where text is cut into source and target makes no difference to a decoder-only model."""
    model = decoder_only()
    ids = torch.tensor([[3, 4, 5, 6, 3, 5]])
    whole = collate([Example(0, [], [])], SPECIAL)

    def states(cut):
        source, text = ids[:, :cut], ids[:, cut:]
        mask = torch.ones_like(source, dtype=torch.bool)
        columns = dict(source_ids=source, source_mask=mask, decoder_input_ids=text, labels=text)
        hidden = model(replace(whole, **columns)).features.hidden_states
        return torch.cat([hidden["encoder.1"], hidden["decoder.1"]], dim=1)

    torch.testing.assert_close(states(1), states(4))
    torch.testing.assert_close(states(1), states(5))


def test_padding_of_sources_changes_nothing_whatever_stands_there(batch):
    model = decoder_only()
    pad = torch.nn.functional.pad
    wider = replace(
        batch,
        source_ids=pad(batch.source_ids, (0, 9), value=5).where(pad(batch.source_mask, (0, 9)), 5),
        source_mask=pad(batch.source_mask, (0, 9)),
    )
    torch.testing.assert_close(model(wider).logits, model(batch).logits)
    tokens = torch.full((5, 1), SPECIAL.begin)
    steps = (model.start(side.source_ids, side.source_mask) for side in (wider, batch))
    one, other = (model.step(tokens, state)[0].logits for state in steps)
    torch.testing.assert_close(one, other)


def test_sources_do_not_look_ahead():
    model = decoder_only()
    one, other = (collate([Example(0, ids, [3])], SPECIAL) for ids in ([3, 4, 5], [3, 4, 6]))
    one, other = (model(side).features.hidden_states["encoder"] for side in (one, other))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2:], other[:, 2:])


def test_an_empty_source_leaves_a_language_model():
    model = decoder_only()
    batch = collate([Example(0, [], [3, 4, 5])], SPECIAL)
    assert batch.source_ids.tolist() == [[SPECIAL.end]]
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(4):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
        torch.testing.assert_close(output.logits[:, 0], model(batch).logits[:, time])


def test_texts_may_be_of_any_length():
    model = decoder_only()
    batch = collate([Example(0, [3 + i % 4 for i in range(1500)], [3, 4, 5] * 20)], SPECIAL)
    logits = model(batch).logits
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(61):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
    torch.testing.assert_close(output.logits[:, 0], logits[:, 60], rtol=1e-4, atol=1e-4)


def test_what_is_read_in_a_source_is_held_once_however_many_hypotheses(batch):
    model = decoder_only()
    start = model.start(batch.source_ids, batch.source_mask)
    state = start.reorder(torch.zeros(5, 9, dtype=torch.long))
    _, state = model.step(torch.full((5, 9), 3), state)
    assert all(now is before for now, before in zip(state.read, start.read, strict=True))
    assert [layer.shape for layer in state.written] == [(2, 5, 9, 2, 1, 4)] * 2
    sizes = [layer.untyped_storage().nbytes() for layer in state.written]
    assert sizes == [4 * layer.numel() for layer in state.written]


def test_one_matrix_learns_from_source_target_and_output():
    model = decoder_only()
    assert model.projection.weight is model.embedding.weight
    batch = collate([Example(0, [3], [4])], SPECIAL)
    model(batch).hidden.square().sum().backward()
    assert model.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [1, 2, 3, 4]
    model.zero_grad()
    nll(model(batch).logits, batch.labels).sum().backward()
    assert (model.embedding.weight.grad.abs().sum(1) > 0).all()


def test_features_have_the_names_and_shapes_of_their_layers(batch):
    features = decoder_only()(batch).features
    source, time = batch.source_ids.shape[1], batch.labels.shape[1]
    assert {*features.attentions} == {"cross.0", "cross.1", "cross"}
    for rows in features.attentions.values():
        assert rows.shape == (5, 2, time, source + time)
        torch.testing.assert_close(rows.sum(-1), torch.ones(5, 2, time))
    length = {"encoder": source, "decoder": time, "cross": source}
    layers = ["0", "1", ""]
    for found, parts, shape in [
        (features.hidden_states, ("encoder", "decoder"), lambda side: (5, side, 8)),
        (features.values, ("cross", "decoder"), lambda side: (5, 2, side, 4)),
    ]:
        assert {*found} == {f"{part}.{n}".rstrip(".") for part in parts for n in layers}
        for name, tensor in found.items():
            assert tensor.shape == shape(length[name.split(".")[0]])
    assert features.attentions["cross"] is features.attentions["cross.1"]
    for name in ("cross", "decoder"):
        assert torch.equal(features.values[name], features.values[f"{name}.1"])
        assert not torch.equal(features.values[name], features.values[f"{name}.0"])


def test_values_are_what_the_rows_of_attention_are_of(batch):
    model = decoder_only()
    found = []
    model.decoder[1].attention.output.register_forward_pre_hook(lambda _, args: found.append(*args))
    features = model(batch).features
    values = torch.cat([features.values["cross"], features.values["decoder"]], dim=2)
    expected = features.attentions["cross"] @ values
    torch.testing.assert_close(found[-1], expected.transpose(1, 2).flatten(2))


def test_attention_that_no_loss_reads_is_not_made(batch, monkeypatch):
    made, rows = [], Attended.rows.func

    def note(attended):
        made.append(attended)
        return rows(attended)

    monkeypatch.setattr(Attended, "rows", property(note))
    output = decoder_only()(batch)
    nll(output.logits, batch.labels).sum().backward()
    last = output.features.attentions.sources["cross.1"]
    assert not any(attended is last for attended in made)  # types are checked on the first
    assert output.features.attentions["cross.1"].shape[:3] == (5, 2, 8)
    assert made[-1] is last


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("source", [[], [3, 4]])
def test_attention_of_another_family_is_refused(other, swapped, source):
    sides = [decoder_only(), toy_structure(other)]
    student, teacher = sides[::-1] if swapped else sides
    batch = collate([Example(0, source, [3, 4, 5])], SPECIAL)
    term = configured("attention_kl", loss={"average_heads": True})
    with pytest.raises(UserError, match="cross do not look at the same positions"):
        term(student(batch), TeacherSignal(teacher(batch)), batch)


@pytest.mark.parametrize("other", OTHERS)
def test_hidden_states_of_another_family_can_be_learned_from(other, batch):
    teacher, term = toy_structure(other, hidden_size=12), configured("hidden_mse", teacher_size=12)
    assert term(decoder_only()(batch), TeacherSignal(teacher(batch)), batch) > 0


def test_embeddings_and_all_that_is_added_to_states_can_be_dropped(batch):
    model, shapes = decoder_only(dropout=0.5).train(), []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.5
            module.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape[-2:])))
    model(batch)
    source, time = (batch.source_ids.shape[1], 8), (batch.labels.shape[1], 8)
    assert sorted(shapes) == sorted([source] * 5 + [time] * 5)


def test_what_is_added_to_states_starts_smaller_the_more_layers_there_are():
    sizes = dict(hidden_size=64, num_layers=8, num_heads=2, feed_forward_size=256)
    model = GPT(50, **sizes, dropout=0.0, max_positions=64)
    block, root = model.decoder[3], math.sqrt(16)
    spreads = {
        model.embedding: 1 / 8,
        model.positions: 1 / 8,
        block.attention.query: 1 / 8,
        block.attention.key_value: 1 / 8,
        block.attention.output: 1 / 8 / root,
        block.expand: 1 / 8,
        block.contract: 1 / 16 / root,
    }
    for module, spread in spreads.items():
        assert module.weight.std().item() == pytest.approx(spread, rel=0.1)


def test_layers_are_those_of_pytorch_where_positions_are_added(batch):
    model = decoder_only(max_positions=30).double()
    stack, output = pytorch_stack(model), model(batch)
    for row, ids, source, text in rows_without_gap(batch):
        behind = ~torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        read = model.embedding.weight[ids] + model.positions.weight[: len(ids)]
        expected = stack(read[None], mask=behind)[0]
        torch.testing.assert_close(output.hidden[row, :text], expected[source:], **EXACT)
        states = output.features.hidden_states["encoder"]
        torch.testing.assert_close(states[row, :source], expected[:source], **EXACT)


def test_gpt2_gives_the_same_states_with_the_same_learned_positions(batch):
    """transformers' own GPT-2, whose biases are 0 and whose GELU is made exact."""
    sizes = dict(n_embd=8, n_layer=2, n_head=2, n_inner=20, n_positions=30, vocab_size=7)
    theirs = GPT2Model(GPT2Config(**sizes, activation_function="gelu")).double().eval()
    ours = decoder_only(max_positions=30).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.zero_()
        theirs.wte.weight.copy_(ours.embedding.weight)
        theirs.wpe.weight.copy_(ours.positions.weight)
        theirs.ln_f.weight.copy_(ours.decoder_norm.weight)
        for own, other in zip(ours.decoder, theirs.h, strict=True):
            looks = torch.cat([own.attention.query.weight, own.attention.key_value.weight])
            other.attn.c_attn.weight.copy_(looks.T)
            other.attn.c_proj.weight.copy_(own.attention.output.weight.T)
            other.mlp.c_fc.weight.copy_(own.expand.weight.T)
            other.mlp.c_proj.weight.copy_(own.contract.weight.T)
            other.ln_1.weight.copy_(own.attention_norm.weight)
            other.ln_2.weight.copy_(own.feed_forward_norm.weight)
    hidden = ours(batch).hidden
    for row, ids, source, text in rows_without_gap(batch):
        expected = theirs(ids[None]).last_hidden_state[0, source:]
        torch.testing.assert_close(hidden[row, :text], expected, **EXACT)


def test_learned_positions_of_padding_are_not_needed():
    """The longest source and the longest text are of different examples."""
    model = decoder_only(max_positions=8)
    examples = [Example(0, [3] * 5, [4]), Example(1, [3], [4, 5, 6, 3, 4])]  # 6 + 2 and 2 + 6
    batch = collate(examples, SPECIAL)
    model.refuse_too_long(examples)
    for row, example in enumerate(examples):
        alone = collate([example], SPECIAL)
        text = len(example.target_ids) + 1
        found = model(batch).logits[row, :text]
        torch.testing.assert_close(found, model(alone).logits[0])


def test_texts_beyond_learned_positions_are_refused():
    model = decoder_only(max_positions=8)
    longer = [Example(0, [3] * 5, [4, 5])]
    message = r"texts of 9 tokens are more than max_positions=8: set it higher, or null for rotary"
    batch = collate(longer, SPECIAL)
    with pytest.raises(UserError, match=message):
        model.refuse_too_long(longer)
    with pytest.raises(UserError, match=message):
        model(batch)
    state = model.start(batch.source_ids, batch.source_mask)
    tokens = torch.full((1, 1), 3)
    for _ in range(2):
        _, state = model.step(tokens, state)
    with pytest.raises(UserError, match=message):
        model.step(tokens, state)
    batch = collate([Example(0, [3] * 7, [])], SPECIAL)
    with pytest.raises(UserError, match=r"sources with a begin of 9 tokens"):
        model.start(batch.source_ids, batch.source_mask)


@pytest.mark.parametrize("size", [1, 3])
def test_what_is_written_ends_where_learned_positions_do(size):
    model, special = decoder_only(max_positions=9), SPECIAL
    with torch.no_grad():
        model.projection.weight[special.end] = 0.0
    batch = collate([Example(i, [3 + i % 4] * i, []) for i in range(1, 8)], special)
    inputs = (batch.source_ids, batch.source_mask, special)
    room = model.room(batch.source_mask).tolist()
    assert room == [7, 6, 5, 4, 3, 2, 1]
    found = beam_search(model, *inputs, beam_size=size)
    ended = {text.ended for (text,) in found}
    for (text,), most in zip(found, room, strict=True):
        assert len(text.token_ids) + 1 <= most
        assert text.ended == (len(text.token_ids) + 1 < most)
    assert False in ended
    drawn = sample(model, *inputs, generator=torch.Generator().manual_seed(1), num_hypotheses=4)
    for texts, most in zip(drawn, room, strict=True):
        assert max(len(text.token_ids) for text in texts) + 1 <= most


def test_positions_are_part_of_the_architecture_and_are_cut_in_width_alone():
    learned = GPT(7, hidden_size=8, num_layers=2, num_heads=2, max_positions=30, **REST)
    rotary = GPT(7, hidden_size=8, num_layers=2, num_heads=2, max_positions=None, **REST)
    with pytest.raises(UserError, match=r"is a GPT and the teacher a GPT with learned positions"):
        CopyLayers(layers="spaced").hand_over(rotary, learned)
    narrow = GPT(7, hidden_size=4, num_layers=1, num_heads=1, max_positions=30, **REST)
    report = SliceWidth(by="order", layers="first").hand_over(narrow, learned)
    torch.testing.assert_close(narrow.positions.weight, learned.positions.weight[:, :4])
    assert report["positions.weight"] == "positions.weight [30, 8] cut to [30, 4]"
    fewer = GPT(7, hidden_size=4, num_layers=1, num_heads=1, max_positions=20, **REST)
    with pytest.raises(UserError, match=r"positions.weight has 20 entries where .* has 30"):
        SliceWidth(by="order", layers="first").hand_over(fewer, learned)


def test_parameters_have_the_names_that_artifacts_were_saved_with():
    parts = ["attention.key_value", "attention.output", "attention.query", "attention_norm"]
    parts += ["contract", "expand", "feed_forward_norm"]
    names = [f"decoder.0.{part}" for part in parts] + ["decoder_norm", "embedding", "projection"]
    assert {*decoder_only(num_layers=1).state_dict()} == {f"{name}.weight" for name in names}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_layers=0), "num_layers must be positive, got 0"),
        (dict(num_heads=3), "hidden_size must be a multiple of twice num_heads=3, got 8"),
        (dict(num_heads=8), "hidden_size must be a multiple of twice num_heads=8, got 8"),
        (
            dict(num_heads=3, max_positions=9),
            "hidden_size must be a multiple of num_heads=3, got 8",
        ),
        (dict(max_positions=0), "max_positions must be positive, got 0"),
        (dict(dropout=1.0), r"dropout must be in \[0, 1\), got 1\.0"),
    ],
)
def test_refuses_impossible_sizes(changes, message):
    with pytest.raises(UserError, match=message):
        decoder_only(**changes)

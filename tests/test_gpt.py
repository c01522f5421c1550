"""The decoder-only model: against PyTorch's own layers, its positions, its gap, its features."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import FAMILIES, SPECIAL, toy_examples, toy_structure
from loss_cases import configured
from torch import nn

from nlg_distill.data.batch import Example, collate
from nlg_distill.errors import UserError
from nlg_distill.losses import nll
from nlg_distill.models import GPT, attention
from nlg_distill.models.attention import Attended, rotated, sinusoids
from nlg_distill.teachers.signal import TeacherSignal

OTHERS = [name for name in FAMILIES if "gpt" not in name]
EXACT = dict(rtol=0, atol=1e-12)


def decoder_only(vocab_size=7, **changes):
    sizes = dict(hidden_size=8, num_layers=2, num_heads=2, feed_forward_size=20, dropout=0.0)
    model = GPT(vocab_size, **(sizes | changes))
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
    model = GPT(50, hidden_size=64, num_layers=8, num_heads=2, feed_forward_size=256, dropout=0.0)
    block, root = model.decoder[3], math.sqrt(16)
    spreads = {
        model.embedding: 1 / 8,
        block.attention.query: 1 / 8,
        block.attention.key_value: 1 / 8,
        block.attention.output: 1 / 8 / root,
        block.expand: 1 / 8,
        block.contract: 1 / 16 / root,
    }
    for module, spread in spreads.items():
        assert module.weight.std().item() == pytest.approx(spread, rel=0.1)


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
        (dict(dropout=1.0), r"dropout must be in \[0, 1\), got 1\.0"),
    ],
)
def test_refuses_impossible_sizes(changes, message):
    with pytest.raises(UserError, match=message):
        decoder_only(**changes)

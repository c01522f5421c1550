"""The Transformer: against PyTorch's own layers, its positions, and what its features cost."""

import math

import pytest
import torch
from conftest import SPECIAL, toy_examples
from torch import nn

from nlg_distill.data.batch import Example, collate
from nlg_distill.errors import UserError
from nlg_distill.losses import nll
from nlg_distill.models import TransformerEncoderDecoder
from nlg_distill.models.attention import Attended, sinusoids

LAYERS = [f"{part}.{number}" for part in ("encoder", "decoder", "cross") for number in (0, 1)]


def transformer(vocab_size=7, **changes):
    sizes = dict(hidden_size=8, num_layers=2, num_heads=2, feed_forward_size=20, dropout=0.0)
    settings = sizes | {"rotary": False} | changes
    model = TransformerEncoderDecoder(vocab_size, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # norms and biases matter too
    return model.eval()


@pytest.fixture
def batch():
    return collate(toy_examples(5), SPECIAL)


def load_attention(theirs, ours):
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())


def load_layer(theirs, ours, norms):
    load_attention(theirs.self_attn, ours.self_attention)
    theirs.linear1.load_state_dict(ours.expand.state_dict())
    theirs.linear2.load_state_dict(ours.contract.state_dict())
    for number, norm in enumerate(norms, start=1):
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())


def pytorch_stacks(model):
    """PyTorch's own encoder and decoder with the weights of a model."""
    settings = dict(
        d_model=8,
        nhead=2,
        dim_feedforward=20,
        dropout=0.0,
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**settings), 2, model.encoder_norm, enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**settings), 2, model.decoder_norm)
    for theirs, ours in zip(encoder.layers, model.encoder, strict=True):
        load_layer(theirs, ours, [ours.self_norm, ours.feed_forward_norm])
    for theirs, ours in zip(decoder.layers, model.decoder, strict=True):
        load_layer(theirs, ours, [ours.self_norm, ours.cross_norm, ours.feed_forward_norm])
        load_attention(theirs.multihead_attn, ours.cross_attention)
    return encoder.eval(), decoder.eval()


def test_encoder_and_decoder_are_those_of_pytorch(batch):
    model = transformer().double()
    encoder, decoder = pytorch_stacks(model)
    matrix = model.embedding.weight

    def embedded(ids):
        return math.sqrt(8) * matrix[ids] + sinusoids(torch.arange(ids.shape[1]), 8).double()

    time = batch.decoder_input_ids.shape[1]
    memory = encoder(embedded(batch.source_ids), src_key_padding_mask=~batch.source_mask)
    expected = decoder(
        embedded(batch.decoder_input_ids),
        memory,
        tgt_mask=~torch.ones(time, time, dtype=torch.bool).tril(),
        memory_key_padding_mask=~batch.source_mask,
    )
    output = model(batch)
    exact = dict(rtol=0, atol=1e-12)
    torch.testing.assert_close(output.hidden, expected, **exact)
    torch.testing.assert_close(output.logits, expected @ matrix.T + model.projection.bias, **exact)
    states = output.features.hidden_states
    mask = batch.source_mask
    torch.testing.assert_close(states["encoder"][mask], memory[mask], **exact)
    torch.testing.assert_close(states["decoder"], expected, **exact)


def test_attentions_are_those_of_pytorch(batch):
    model = transformer().double()
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    load_attention(attention, model.encoder[1].self_attention)
    features = model(batch).features
    normed = model.encoder[1].self_norm(features.hidden_states["encoder.0"])
    _, rows = attention(
        normed,
        normed,
        normed,
        key_padding_mask=~batch.source_mask,
        average_attn_weights=False,
    )
    torch.testing.assert_close(features.attentions["encoder.1"], rows, rtol=0, atol=1e-12)


def test_positions_by_their_formula():
    positions = [0, 1, 57, 4000]
    found = sinusoids(torch.tensor(positions), 6)
    for row, position in zip(found.tolist(), positions, strict=True):
        angles = [position / 10_000 ** (2 * i / 6) for i in range(3)]
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert row == pytest.approx(expected, abs=1e-3 if position > 1000 else 1e-5)


def turned(states):
    """Queries or keys as complex numbers, those at position n turned by n times their angles."""
    first, second = states.double().chunk(2, dim=-1)
    width, time = first.shape[-1], first.shape[-2]
    angles = torch.tensor([[n / 10_000 ** (i / width) for i in range(width)] for n in range(time)])
    return torch.complex(first, second) * torch.exp(1j * angles)


def test_rotary_positions_turn_queries_and_keys_of_self_attention_alone(batch):
    model = transformer(rotary=True)
    features = model(batch).features
    for name, states, layer, mask in (
        ("encoder.1", "encoder.0", model.encoder[1], batch.source_mask[:, None, None]),
        ("decoder.1", "decoder.0", model.decoder[1], None),
    ):
        attention = layer.self_attention
        normed = layer.self_norm(features.hidden_states[states])
        keys, values = attention.read(normed)
        scores = (turned(attention.ask(normed)) @ turned(keys).conj().transpose(-1, -2)).real
        seen = torch.ones_like(scores, dtype=torch.bool).tril() if mask is None else mask
        rows = (scores / 2).masked_fill(~seen, -math.inf).softmax(dim=-1)  # the root of width 4
        torch.testing.assert_close(features.attentions[name].double(), rows, rtol=0, atol=1e-5)
        torch.testing.assert_close(features.values[name], values)
    cross = model.decoder[1].cross_attention
    memory = features.hidden_states["encoder"]
    torch.testing.assert_close(features.values["cross.1"], cross.read(memory)[1])
    embedded = math.sqrt(8) * model.embedding(batch.source_ids)  # no position is added
    first, _ = model.encoder[0](
        embedded, batch.source_mask, sinusoids(torch.arange(len(embedded[0]))[None], 4)
    )
    torch.testing.assert_close(features.hidden_states["encoder.0"], first)


@pytest.mark.parametrize("rotary", [False, True])
def test_tokens_one_by_one_stand_at_the_positions_of_all_at_once(batch, rotary):
    model = transformer(rotary=rotary)
    state = model.start(batch.source_ids, batch.source_mask)
    one_by_one = []
    for ids in batch.decoder_input_ids.unbind(dim=1):
        output, state = model.step(ids[:, None], state)
        one_by_one.append(output.logits[:, 0])
    torch.testing.assert_close(torch.stack(one_by_one, dim=1), model(batch).logits)


def test_texts_may_be_of_any_length():
    model = transformer()
    batch = collate([Example(0, [3 + i % 4 for i in range(1500)], [3, 4, 5] * 20)], SPECIAL)
    logits = model(batch).logits
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(61):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
    torch.testing.assert_close(output.logits[:, 0], logits[:, 60], rtol=1e-4, atol=1e-4)


def test_one_matrix_learns_from_source_target_and_output():
    model = transformer()
    assert model.projection.weight is model.embedding.weight
    batch = collate([Example(0, [3], [4])], SPECIAL)
    model(batch).hidden.sum().backward()
    assert model.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [1, 2, 3, 4]
    model.zero_grad()
    nll(model(batch).logits, batch.labels).sum().backward()
    assert (model.embedding.weight.grad.abs().sum(1) > 0).all()


def test_what_is_read_in_a_source_is_held_once_however_many_hypotheses(batch):
    model = transformer()
    start = model.start(batch.source_ids, batch.source_mask)
    state = start.reorder(torch.zeros(5, 9, dtype=torch.long))
    _, state = model.step(torch.full((5, 9), 3), state)
    assert all(now is before for now, before in zip(state.read, start.read, strict=True))
    assert [layer.shape for layer in state.written] == [(2, 5, 9, 2, 1, 4)] * 2


def test_features_have_the_names_and_shapes_of_their_layers(batch):
    features = transformer()(batch).features
    ends = ["encoder", "decoder", "cross"]
    source, time = batch.source_ids.shape[1], batch.labels.shape[1]
    queries = {"encoder": source, "decoder": time, "cross": time}
    keys = {"encoder": source, "decoder": time, "cross": source}
    assert {*features.attentions} == {*features.values} == {*LAYERS, *ends}
    for name in features.attentions:
        part = name.split(".")[0]
        assert features.attentions[name].shape == (5, 2, queries[part], keys[part])
        assert features.values[name].shape == (5, 2, keys[part], 4)
    assert {*features.hidden_states} == {*LAYERS[:4], "encoder", "decoder"}
    for name, states in features.hidden_states.items():
        assert states.shape == (5, queries[name.split(".")[0]], 8)
    for end in ends:
        assert features.attentions[end] is features.attentions[f"{end}.1"]
        assert features.values[end] is features.values[f"{end}.1"]


def test_rows_are_distributions_over_what_may_be_seen(batch):
    rows = transformer()(batch).features.attentions
    for name in rows:
        torch.testing.assert_close(rows[name].sum(-1), torch.ones(rows[name].shape[:-1]))
    hidden = ~batch.source_mask[:, None, None]
    assert (rows["encoder.0"] * hidden == 0).all()
    assert (rows["cross.0"] * hidden == 0).all()
    assert (rows["decoder.0"].triu(1) == 0).all()
    assert (rows["decoder.0"].tril() > 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("queries", "masked"), [(6, "keys"), (6, "pairs"), (6, ""), (3, ""), (1, "")]
)
def test_mixtures_are_sums_of_values_by_the_rows(queries, masked, dtype):
    generator = torch.Generator().manual_seed(3)
    asked = torch.randn(4, 2, queries, 8, generator=generator).to(dtype)
    keys, values = torch.randn(2, 4, 2, 6, 8, generator=generator).to(dtype)
    keys_seen = torch.arange(6) < torch.tensor([6, 1, 3, 5])[:, None, None]
    pairs = keys_seen | torch.eye(6, dtype=torch.bool)
    mask = {"keys": keys_seen, "pairs": pairs}.get(masked)
    attended = Attended(asked, keys, values, mask)
    exact = Attended(asked.float(), keys.float(), values.float(), mask)
    tolerance = {"atol": 0.03, "rtol": 0.03} if dtype == torch.bfloat16 else {}
    found = attended.mixture().float()
    torch.testing.assert_close(found, exact.rows @ exact.values, **tolerance)


def test_attention_that_no_loss_reads_is_not_made(batch, monkeypatch):
    model, made = transformer(), set()
    rows = Attended.rows.func

    def note(attended):
        made.add(id(attended))
        return rows(attended)

    monkeypatch.setattr(Attended, "rows", property(note))
    output = model(batch)
    nll(output.logits, batch.labels).sum().backward()
    attentions = output.features.attentions
    kept = [id(attentions.sources[name]) for name in LAYERS[1:]]
    assert not made & {*kept}  # the check of types in tests looks at the first
    assert attentions["cross.1"].shape == (5, 2, 8, 6)
    assert made & {*kept} == {kept[-1]}


def test_embeddings_and_all_that_is_added_to_states_can_be_dropped(batch):
    model, shapes = transformer(dropout=0.5).train(), []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.5
            module.register_forward_hook(lambda *call: shapes.append(call[2].shape))
    model(batch)
    source, time = (5, batch.source_ids.shape[1], 8), (5, 1, batch.labels.shape[1], 8)
    assert sorted(shapes) == sorted([source] * 5 + [time] * 7)


def test_parameters_have_the_names_that_artifacts_were_saved_with():
    layer = ["contract", "expand", "feed_forward_norm", "self_norm"]
    layer += [f"self_attention.{part}" for part in ("key_value", "output", "query")]
    cross = ["cross_norm"]
    cross += [f"cross_attention.{part}" for part in ("key_value", "output", "query")]
    modules = [f"encoder.0.{name}" for name in layer]
    modules += [f"decoder.0.{name}" for name in (*layer, *cross)]
    modules += ["encoder_norm", "decoder_norm", "projection"]
    expected = {f"{name}.{kind}" for name in modules for kind in ("weight", "bias")}
    assert {*transformer(num_layers=1).state_dict()} == expected | {"embedding.weight"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(feed_forward_size=0), "feed_forward_size must be positive, got 0"),
        (dict(num_heads=3), "hidden_size must be even and a multiple of num_heads=3, got 8"),
        (dict(hidden_size=9, num_heads=3), "must be even and a multiple of num_heads=3, got 9"),
        (dict(dropout=1.0), r"dropout must be in \[0, 1\), got 1\.0"),
        (
            dict(rotary=True, hidden_size=6),
            "a multiple of twice num_heads=2 for rotary positions, got 6",
        ),
    ],
)
def test_refuses_impossible_sizes(changes, message):
    with pytest.raises(UserError, match=message):
        transformer(**changes)

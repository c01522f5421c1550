"""Models of transformers: their own loss and logits, their steps, their parameters."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hf_checkpoints import CAUSAL, FAMILIES, SEQ2SEQ, VOCAB, make_checkpoint, opened, theirs

from nlg_distill.data.batch import Example, collate
from nlg_distill.decoding import LengthLimit, beam_search, sample
from nlg_distill.losses import nll


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(3)
    return {family: (root / family, make_checkpoint(family, root / family)) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def folder(checkpoints, family):
    return checkpoints[family][0]


@pytest.fixture
def special(checkpoints, family):
    return checkpoints[family][1]


@pytest.fixture
def model(family, folder):
    return opened(family, folder)


def examples(special, family):
    """Ragged on both sides; a language model's source may be empty."""
    text = [i for i in range(VOCAB) if i not in (special.pad, special.begin, special.end)]
    lengths = [(1, 5), (6, 1), (3, 0), (4, 7), (2, 2)]
    if family in CAUSAL:
        lengths.append((0, 4))
    rows, generator = [], torch.Generator().manual_seed(0)
    for number, (source, target) in enumerate(lengths):
        drawn = torch.randint(len(text), (source + target,), generator=generator).tolist()
        ids = [text[i] for i in drawn]
        rows.append(Example(number, ids[:source], ids[source:]))
    return rows


@pytest.fixture
def batch(special, family):
    return collate(examples(special, family), special)


def own_nll(network, example, special, family):
    """What transformers says of one example, its ids and labels made by hand."""
    if family in SEQ2SEQ:
        ids = torch.tensor([[*example.source_ids, special.end]])
        labels = torch.tensor([[*example.target_ids, special.end]])
        return network(input_ids=ids, labels=labels).loss * labels.numel()
    prompt = list(example.source_ids) or [special.begin]
    ids = torch.tensor([[*prompt, *example.target_ids, special.end]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    return network(input_ids=ids, labels=labels).loss * (len(example.target_ids) + 1)


@torch.no_grad()
def test_nll_is_that_of_transformers(model, folder, special, family):
    network = theirs(family, folder)
    rows = examples(special, family)
    own = torch.stack([own_nll(network, example, special, family) for example in rows])
    batch = collate(rows, special)
    values = nll(model(batch).logits, batch.labels)
    torch.testing.assert_close(values.sum(1), own, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_nll_of_a_batch_is_that_of_transformers_with_padding(model, folder, batch, special, family):
    """The whole batch in one call of transformers, labels -100 on prompts and padding."""
    network, count = theirs(family, folder), int(batch.num_target_tokens)
    if family in SEQ2SEQ:
        loss = network(
            input_ids=batch.source_ids,
            attention_mask=batch.source_mask.long(),
            labels=batch.labels,  # out of which it makes what its decoder reads
        ).loss
    else:
        ids, labels, mask = [], [], []
        for row in range(len(batch.labels)):
            prompt = batch.source_ids[row, batch.source_mask[row]].tolist()[:-1] or [special.begin]
            text = batch.labels[row, batch.target_mask[row]].tolist()
            padding = 16 - len(prompt) - len(text)
            ids.append(prompt + text + [special.pad] * padding)
            labels.append([-100] * len(prompt) + text + [-100] * padding)
            mask.append([1] * (len(prompt) + len(text)) + [0] * padding)
        ids, labels, mask = (torch.tensor(rows) for rows in (ids, labels, mask))
        loss = network(input_ids=ids, attention_mask=mask, labels=labels).loss
    found = nll(model(batch).logits, batch.labels).sum()
    torch.testing.assert_close(found, loss * count, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_the_projection_is_a_linear_map_that_gives_the_models_own_logits(
    model, batch, folder, family
):
    output = model(batch)
    weight, bias = output.projection.weight, output.projection.bias
    fused = output.hidden @ weight.T + (0 if bias is None else bias)
    torch.testing.assert_close(fused, output.logits)
    if family in SEQ2SEQ:
        own = theirs(family, folder)(
            input_ids=batch.source_ids,
            attention_mask=batch.source_mask.long(),
            decoder_input_ids=batch.decoder_input_ids,
            decoder_attention_mask=torch.ones_like(batch.decoder_input_ids),
        ).logits
        torch.testing.assert_close(output.logits, own, rtol=1e-5, atol=1e-5)
    assert (bias is not None) == (family in ("bart", "marian"))
    assert output.logits.dtype == torch.float32


def test_step_by_step_equals_parallel(model, batch):
    parallel = model(batch).logits
    state = model.start(batch.source_ids, batch.source_mask)
    for time in range(batch.labels.shape[1]):
        output, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
        torch.testing.assert_close(output.logits[:, 0], parallel[:, time], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
@torch.no_grad()
def test_steps_of_many_hypotheses_equal_parallel_whatever_their_parents(
    model, batch, special, seed
):
    generator = torch.Generator().manual_seed(seed)
    sources = torch.arange(len(batch.labels))
    state = model.start(batch.source_ids, batch.source_mask)
    texts = torch.full((len(sources), 1, 1), special.begin)
    for beam in (3, 3, 2, 4, 4):
        output, state = model.step(texts[:, :, -1], state)
        for number in range(texts.shape[1]):
            read = texts[:, number]
            rows = {name: column[sources] for name, column in vars(batch).items()}
            whole = model(replace(batch, **rows | dict(decoder_input_ids=read, labels=read)))
            torch.testing.assert_close(
                output.logits[:, number], whole.logits[:, -1], rtol=1e-4, atol=1e-5
            )
        parents = torch.randint(texts.shape[1], (len(sources), beam), generator=generator)
        words = torch.randint(3, VOCAB - 1, (len(sources), beam, 1), generator=generator)
        texts = texts[torch.arange(len(sources))[:, None], parents]
        texts, state = torch.cat([texts, words], dim=2), state.reorder(parents)
        if beam == 2:
            kept = torch.tensor([4, 0, 2])
            sources, texts, state = sources[kept], texts[kept], state.keep(kept)


def test_a_state_stays_what_it_was(model, batch):
    start = model.start(batch.source_ids, batch.source_mask)
    tokens = torch.full((len(batch.labels), 1), 3)
    first, one = model.step(tokens, start)
    again, _ = model.step(tokens, start)
    torch.testing.assert_close(again.logits, first.logits)
    second, _ = model.step(tokens, one)
    model.step(tokens + 1, one)
    torch.testing.assert_close(model.step(tokens, one)[0].logits, second.logits)


def test_padding_changes_nothing(model, special, family):
    rows = examples(special, family)
    batch = collate(rows, special)
    together = model(batch).logits
    tokens = torch.full((len(rows), 1), special.begin)
    stepped, _ = model.step(tokens, model.start(batch.source_ids, batch.source_mask))
    for row, example in enumerate(rows):
        one = collate([example], special)
        alone = model(one).logits[0]
        close = dict(rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[row, : len(alone)], alone, **close)
        first, _ = model.step(tokens[:1], model.start(one.source_ids, one.source_mask))
        torch.testing.assert_close(stepped.logits[row], first.logits[0], **close)
    pad = torch.nn.functional.pad
    wider = replace(
        batch,
        source_ids=pad(batch.source_ids, (0, 5), value=4).where(pad(batch.source_mask, (0, 5)), 4),
        source_mask=pad(batch.source_mask, (0, 5)),
        decoder_input_ids=pad(batch.decoder_input_ids, (0, 3), value=5),
        labels=pad(batch.labels, (0, 3), value=-100),
    )
    time = batch.labels.shape[1]
    torch.testing.assert_close(model(wider).logits[:, :time], together, rtol=1e-4, atol=1e-5)


def test_later_tokens_change_nothing_before_them(model, batch):
    changed = batch.decoder_input_ids.clone()
    changed[:, 3:] = 4
    other, same = model(replace(batch, decoder_input_ids=changed)).logits, model(batch).logits
    torch.testing.assert_close(other[:, :3], same[:, :3])
    assert not torch.allclose(other[:, 3:], same[:, 3:])


@torch.no_grad()
def test_beams_and_samples_are_written(model, batch, special):
    limit = LengthLimit(ratio=0.5, extra=5)
    inputs = (model, batch.source_ids, batch.source_mask, special)
    found = beam_search(*inputs, beam_size=3, num_hypotheses=2, limit=limit)
    drawn = sample(
        *inputs, generator=torch.Generator().manual_seed(1), num_hypotheses=2, limit=limit
    )
    assert [len(texts) for texts in found] == [2] * len(batch.labels)
    for texts, example in zip([*found, *drawn], [*range(len(batch.labels))] * 2, strict=True):
        one = collate(
            [
                Example(
                    0,
                    batch.source_ids[example, batch.source_mask[example]][:-1].tolist(),
                    texts[0].token_ids,
                )
            ],
            special,
        )
        own = -nll(model(one).logits, one.labels).sum().item()
        if texts[0].ended:
            assert texts[0].log_prob == pytest.approx(own, abs=1e-3)


# Inner states.


def alone(network, example, special, family):
    """What transformers says inside of one example, by side, without padding or gaps."""
    inside = dict(output_hidden_states=True, output_attentions=True)
    if family in SEQ2SEQ:
        ids = torch.tensor([[*example.source_ids, special.end]])
        read = torch.tensor([[special.begin, *example.target_ids]])
        return network(input_ids=ids, decoder_input_ids=read, **inside)
    prompt = list(example.source_ids) or [special.begin]
    return network(input_ids=torch.tensor([[*prompt, *example.target_ids]]), **inside)


@torch.no_grad()
def test_hidden_states_are_those_of_transformers(model, folder, batch, special, family):
    network = theirs(family, folder, attn_implementation="eager")
    found = model(batch).features
    names = {f"{side}{layer}" for side, layer in product(("encoder", "decoder"), ("", ".0"))}
    assert set(found.hidden_states) == names
    assert not found.attentions
    assert not found.values
    for row, example in enumerate(examples(special, family)):
        own, text = alone(network, example, special, family), len(example.target_ids) + 1
        if family in SEQ2SEQ:
            layers = {"encoder": own.encoder_hidden_states, "decoder": own.decoder_hidden_states}
            first, source = 0, len(example.source_ids) + 1
        else:
            layers = {"encoder": own.hidden_states, "decoder": own.hidden_states}
            source = len(example.source_ids)
            first = max(source - 1, 0)
        for name, number in (("", -1), (".0", 1)):
            wanted = layers["decoder"][number][0, first : first + text]
            states = found.hidden_states[f"decoder{name}"][row, :text]
            torch.testing.assert_close(states, wanted, rtol=1e-4, atol=1e-5)
            wanted = layers["encoder"][number][0, :source]
            states = found.hidden_states[f"encoder{name}"][row]
            torch.testing.assert_close(states[:source], wanted, rtol=1e-4, atol=1e-5)
            if family in CAUSAL and source:  # the end, which is not read
                torch.testing.assert_close(states[source], wanted[-1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attentions_are_those_of_transformers_on_request(folder, batch, special, family):
    model = opened(family, folder, attentions=True)
    network = theirs(family, folder, attn_implementation="eager")
    found = model(batch).features.attentions
    torch.testing.assert_close(
        model(batch).logits, opened(family, folder)(batch).logits, rtol=1e-4, atol=1e-5
    )
    sides = ("encoder", "decoder", "cross") if family in SEQ2SEQ else ("cross",)
    assert set(found) == {f"{side}{n}" for side, n in product(sides, ("", ".0", ".1"))}
    width = batch.source_ids.shape[1]
    for row, example in enumerate(examples(special, family)):
        own, text = alone(network, example, special, family), len(example.target_ids) + 1
        if family in SEQ2SEQ:
            wanted = {
                "encoder": own.encoder_attentions[1][0],
                "decoder": own.decoder_attentions[1][0],
                "cross": own.cross_attentions[1][0],
            }
            for side, rows in wanted.items():
                ours = found[side][row, :, : rows.shape[1]]
                torch.testing.assert_close(ours[..., : rows.shape[2]], rows, rtol=1e-4, atol=1e-5)
                assert (ours[..., rows.shape[2] :] == 0).all()
            continue
        first = max(len(example.source_ids) - 1, 0)
        rows = own.attentions[1][0, :, first : first + text]
        ours = found["cross"][row, :, :text]
        close = dict(rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.sum(-1), torch.ones(ours.shape[:2]), **close)
        torch.testing.assert_close(ours[..., :first], rows[..., :first], **close)
        assert (ours[..., first:width] == 0).all()
        torch.testing.assert_close(ours[..., width : width + text], rows[..., first:], **close)


def test_half_precision_runs_and_is_near(model, batch):
    exact = model(batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch).logits.float()
        state = model.start(batch.source_ids, batch.source_mask)
        first, state = model.step(batch.decoder_input_ids[:, :1], state)
        second, _ = model.step(batch.decoder_input_ids[:, 1:2], state)
        steps = torch.cat([first.logits, second.logits], dim=1).float()
    spread = exact.std().item()
    assert (logits - exact).abs().mean() < 0.03 * spread
    assert (steps - exact[:, :2]).abs().mean() < 0.03 * spread
    logits.logsumexp(-1).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())

"""Teacher sources: one signal whatever it is made from, and a cache that is right or refused."""

import multiprocessing
import pickle
import time
from dataclasses import replace

import pytest
import torch
from conftest import SPECIAL, terms_of, toy_examples, toy_model

from nlg_distill.data.batch import Batch, collate
from nlg_distill.decoding import beam_search
from nlg_distill.distributions import log_probs
from nlg_distill.errors import UserError
from nlg_distill.losses import DivergenceTerm, Objective, SpanTerm, forward_kl, span_kl
from nlg_distill.models.output import ModelOutput
from nlg_distill.modules import DistillModule, StudentModule, TeacherModule
from nlg_distill.stages.teacher_signal import write_shards
from nlg_distill.targets import Gold
from nlg_distill.teachers.cached import CachedTeacher, example_hash, write_index
from nlg_distill.teachers.codec import ExactCodec, QuantisedCodec
from nlg_distill.teachers.ensemble import EnsembleTeacher, mean_of_logits, mean_of_probabilities
from nlg_distill.teachers.live import LiveTeacher
from nlg_distill.teachers.modes import MODES
from nlg_distill.teachers.signal import SparseDistribution
from nlg_distill.teachers.source import TeacherSource
from nlg_distill.teachers.text_only import TextOnlyTeacher

VOCAB = 17
EXAMPLES = toy_examples(20, VOCAB)
ORIGIN = {"teacher": "t1", "tokenizer": "p1", "corpus": "c1", "targets": {"_target_": "Gold"}}
CPU = torch.device("cpu")


def teacher(seed=0):
    torch.manual_seed(seed)
    module = TeacherModule(toy_model(VOCAB, hidden_size=8), SPECIAL)
    torch.nn.init.normal_(module.model.projection.weight, std=5.0)  # sure of something
    return module


def ensemble(*modules, **settings):
    return EnsembleTeacher(*modules, seeds=list(range(len(modules))), **settings)


def store(folder, source=None, k=5, mode="top_k", quantised=True, shard_examples=3):
    """A cache of the toy examples."""
    k, quantised = (None, None) if mode == "spans" else (k, quantised)
    made = MODES[mode](k, VOCAB, quantised=quantised)
    source = source or LiveTeacher(teacher())
    write_shards(source, made, EXAMPLES, SPECIAL, folder, CPU, shard_examples)
    write_index(folder, EXAMPLES, ORIGIN, vocab_size=VOCAB, shard_examples=shard_examples)
    return made


def reopen(folder, examples=EXAMPLES, expected=ORIGIN, k=5, mode="top_k", quantised=True):
    k, quantised = (None, None) if mode == "spans" else (k, quantised)
    return CachedTeacher(
        folder, examples, expected, source=None, k=k, mode=mode, quantised=quantised
    )


@pytest.fixture
def batch():
    """Not in the order of the cache, and padded."""
    return collate([EXAMPLES[i] for i in (11, 4, 0, 19, 7)], SPECIAL)


def test_every_source_is_one(tmp_path):
    store(tmp_path)
    live = LiveTeacher(teacher())
    for source in (live, ensemble(teacher()), reopen(tmp_path), TextOnlyTeacher()):
        assert isinstance(source, TeacherSource)


# The ensemble.


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_an_ensemble_of_one_is_that_one(batch, average):
    live, alone = LiveTeacher(teacher()), ensemble(teacher(), average=average)
    torch.testing.assert_close(alone(batch).logits, log_probs(live(batch).logits))
    assert not alone(batch).logits.requires_grad


def test_the_average_is_that_of_probabilities_or_their_geometric_mean(batch):
    parts = [LiveTeacher(teacher(seed))(batch).logits.softmax(-1) for seed in (1, 2)]
    settings = {"weights": [1.0, 3.0]}
    mean = ensemble(teacher(1), teacher(2), **settings)(batch).logits.exp()
    torch.testing.assert_close(mean, 0.25 * parts[0] + 0.75 * parts[1])
    geometric = ensemble(teacher(1), teacher(2), average="logits", **settings)(batch).logits.exp()
    product = parts[0] ** 0.25 * parts[1] ** 0.75
    torch.testing.assert_close(geometric, product / product.sum(-1, keepdim=True))
    assert (geometric - mean).abs().max() > 0.01


@pytest.mark.parametrize("mean", [mean_of_probabilities, mean_of_logits])
def test_the_mean_of_tiny_probabilities_is_finite(mean):
    tiny = torch.tensor([[0.0, -300.0], [0.0, -310.0]]).log_softmax(-1)
    found = mean(tiny, torch.tensor([0.5, 0.5]))
    assert -312 < found[1] < -299


@pytest.mark.parametrize("mean", [mean_of_probabilities, mean_of_logits])
def test_the_mean_is_in_float32_also_under_autocast(mean):
    distributions, weights = torch.randn(2, 3, VOCAB).log_softmax(-1), torch.tensor([0.3, 0.7])
    expected = mean(distributions, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mean(distributions, weights)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_an_ensemble_writes_what_its_distributions_say(batch):
    one, twice = teacher(), ensemble(teacher(), teacher())
    settings = {"beam_size": 3, "num_hypotheses": 2}

    def texts(model):
        found = beam_search(model, batch.source_ids, batch.source_mask, SPECIAL, **settings)
        return [[hypothesis.token_ids for hypothesis in own] for own in found]

    assert texts(twice.model) == texts(one.model.eval())
    different = ensemble(teacher(1), teacher(2)).model
    state, steps = different.start(batch.source_ids, batch.source_mask), []
    for token_ids in batch.decoder_input_ids.T:
        output, state = different.step(token_ids[:, None], state)
        steps.append(output.logits[:, 0])
    mask = batch.target_mask
    torch.testing.assert_close(torch.stack(steps, 1)[mask], different(batch).logits[mask])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": []}, "seeds must be different numbers"),
        ({"seeds": [1, 1]}, r"different numbers, got \[1, 1\]"),
        ({"seeds": [1, 2], "weights": [1.0]}, "one positive number for each"),
        ({"seeds": [1, 2], "weights": [1.0, 0.0]}, "one positive number for each"),
    ],
)
def test_an_ensemble_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        EnsembleTeacher.gives(settings)


# How a position becomes bytes.


@pytest.mark.parametrize("vocab_size", [4000, 65_536, 65_537, 2**20])
def test_a_position_takes_118_bytes_and_its_ids_come_back(vocab_size):
    codec = QuantisedCodec(32, vocab_size)
    ids = torch.randint(vocab_size, (50, 32))
    ids[0, :2] = torch.tensor([0, vocab_size - 1])
    values = (4 * torch.randn(50, 32)).log_softmax(-1)
    head = torch.randn(50)
    records = codec.encode(ids, values, head)
    assert records.shape[1] == codec.bytes_per_token == 118
    found, back, same_head = codec.decode(records[:, None])
    assert torch.equal(found[:, 0], ids)
    assert torch.equal(same_head[:, 0], head)
    width = values.amax(-1, keepdim=True) - values.amin(-1, keepdim=True)
    distance = values - values.amax(-1, keepdim=True)
    assert ((back[:, 0] - distance).abs() <= 0.5 * (width + 1e-3) / codec.levels + 1e-5).all()


def test_a_vocabulary_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"teacher\.quantised=false"):
        QuantisedCodec(32, 2**20 + 1)


@pytest.mark.parametrize("k", [1, 5, 8])
def test_the_exact_codec_loses_nothing(k):
    codec = ExactCodec(k, 10**7)
    parts = torch.randint(10**7, (9, k)), torch.randn(9, k), torch.randn(9)
    for found, part in zip(codec.decode(codec.encode(*parts)), parts, strict=True):
        assert torch.equal(found, part)


@pytest.mark.parametrize("k", [1, 5, 32, VOCAB])
def test_the_mass_of_the_tokens_and_of_the_tail_is_kept(k):
    logits = 5 * torch.randn(200, VOCAB)
    logits[0] = 0.0
    logits[1, 3:] = float("-inf")
    mode = MODES["top_k"](k, VOCAB, quantised=True)
    stored = mode.decode(mode.encode(logits, torch.Generator())[None]).sparse
    exact = SparseDistribution.of(logits, k)
    assert torch.equal(stored.token_ids[0], exact.token_ids)
    assert torch.equal(stored.tail_log_mass[0], exact.tail_log_mass)
    whole = stored.log_probs.double().exp().sum(-1) + stored.tail_log_mass.double().exp()
    torch.testing.assert_close(whole, torch.ones_like(whole), atol=1e-6, rtol=0)
    error = (stored.log_probs[0] - exact.log_probs)[exact.log_probs > -40].abs()
    assert error.max() < 0.01
    assert stored.log_probs.isfinite().all()


def test_draws_are_unbiased_and_have_the_teachers_probabilities():
    logits = torch.randn(VOCAB).expand(4000, -1)
    mode = MODES["samples"](10, VOCAB, quantised=True)
    found = mode.decode(mode.encode(logits, torch.Generator())[None]).samples
    known = logits[0].log_softmax(-1)
    frequencies = torch.bincount(found.token_ids.flatten(), minlength=VOCAB) / 40_000
    torch.testing.assert_close(frequencies, known.exp(), atol=0.01, rtol=0)
    torch.testing.assert_close(found.log_probs, known[found.token_ids], atol=1e-3, rtol=0)


# The cache.


def kl_of(source, batch):
    """What forward KL makes of a source, and its gradient."""
    torch.manual_seed(5)
    student = StudentModule(toy_model(VOCAB, hidden_size=4), SPECIAL)
    objective = Objective({"kl": DivergenceTerm(loss=forward_kl)})
    module = DistillModule(student, source, Gold(), objective)
    value = terms_of(module, batch)["kl"]
    value.backward()
    gradients = [p.grad.flatten() for p in module.model.parameters() if p.grad is not None]
    return value.detach(), torch.cat(gradients)


@pytest.mark.parametrize(("quantised", "tolerance"), [(False, 1e-5), (True, 2e-3)])
def test_a_cache_of_the_whole_vocabulary_is_the_live_teacher(tmp_path, batch, quantised, tolerance):
    store(tmp_path, k=VOCAB, quantised=quantised)
    cached = reopen(tmp_path, k=VOCAB, quantised=quantised)
    expected, gradient = kl_of(LiveTeacher(teacher()), batch)
    value, same_gradient = kl_of(cached, batch)
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(same_gradient, gradient, rtol=0, atol=tolerance)


def test_a_cache_of_k_tokens_is_the_live_teachers_k_largest(tmp_path, batch):
    store(tmp_path, k=5, quantised=False)
    found = reopen(tmp_path, k=5, quantised=False)(batch).sparse
    live = SparseDistribution.of(LiveTeacher(teacher())(batch).logits, 5)
    mask = batch.target_mask
    assert torch.equal(found.token_ids[mask], live.token_ids[mask])
    torch.testing.assert_close(found.log_probs[mask], live.log_probs[mask])
    torch.testing.assert_close(found.tail_log_mass[mask], live.tail_log_mass[mask])


def test_a_cache_can_hold_an_ensemble(tmp_path, batch):
    source = ensemble(teacher(1), teacher(2))
    store(tmp_path, source, k=VOCAB, quantised=False)
    found, _ = kl_of(reopen(tmp_path, k=VOCAB, quantised=False), batch)
    torch.testing.assert_close(found, kl_of(source, batch)[0], rtol=1e-5, atol=0)


def test_the_signal_of_an_example_does_not_depend_on_its_batch(tmp_path, batch):
    store(tmp_path)
    source = reopen(tmp_path)
    together = source(batch).sparse
    assert together.log_probs.isfinite().all()  # padding too
    for row, number in enumerate(batch.example_ids.tolist()):
        alone = source(collate([EXAMPLES[number]], SPECIAL)).sparse
        count = alone.log_probs.shape[1]
        assert torch.equal(together.log_probs[row, :count], alone.log_probs[0])
        assert torch.equal(together.token_ids[row, :count], alone.token_ids[0])


def test_a_cache_goes_to_another_process_without_its_files(tmp_path, batch):
    store(tmp_path)
    source = reopen(tmp_path)
    before = source(batch).sparse
    copy = pickle.dumps(source)
    assert "shards" not in pickle.loads(copy).__dict__
    assert torch.equal(pickle.loads(copy)(batch).sparse.log_probs, before.log_probs)


@pytest.mark.parametrize("name", [*ORIGIN, "k"])
def test_a_cache_of_something_else_is_refused_with_both_names(tmp_path, name):
    store(tmp_path)
    with pytest.raises(UserError, match=f"made with {name}=.* but this training has {name}=other"):
        reopen(tmp_path, expected={**ORIGIN, name: "other"})


def test_another_text_is_refused_before_the_first_step(tmp_path):
    store(tmp_path)
    ids = EXAMPLES[3].target_ids
    changed = replace(EXAMPLES[3], target_ids=[*ids[:-1], 3 if ids[-1] != 3 else 4])
    longer = replace(EXAMPLES[3], target_ids=[*ids, 3])
    moved = replace(EXAMPLES[3], source_ids=[*EXAMPLES[3].source_ids, 3])
    beyond = replace(EXAMPLES[3], example_id=20)
    count = len(ids) + 1
    for example, message in [
        (changed, r"another text for example 3: .* hash \w+, those of this training \w+"),
        (moved, "another text for example 3"),
        (longer, f"{count} target tokens for example 3, but this training has {count + 1}"),
        (beyond, "holds 20 examples, but this training has an example 20"),
    ]:
        with pytest.raises(UserError, match=message):
            reopen(tmp_path, [example])
    assert reopen(tmp_path, EXAMPLES[5:9])  # fewer, as when long pairs are left out


def test_the_border_of_source_and_target_is_in_the_hash():
    one = replace(EXAMPLES[0], source_ids=[3, 4], target_ids=[5])
    other = replace(EXAMPLES[0], source_ids=[3], target_ids=[4, 5])
    assert example_hash(one) != example_hash(other)


def test_a_batch_with_other_targets_is_refused(tmp_path, batch):
    store(tmp_path)
    shorter = replace(batch, labels=batch.labels[:, :2], decoder_input_ids=batch.labels[:, :2])
    with pytest.raises(UserError, match="target tokens for example"):
        reopen(tmp_path)(shorter)


@pytest.mark.parametrize("mode", MODES)
def test_a_teacher_that_gives_nan_is_not_stored(tmp_path, mode):
    broken = teacher()
    torch.nn.init.constant_(broken.model.projection.bias, float("nan"))
    with pytest.raises(UserError, match=r"no numbers \(NaN\)"):
        store(tmp_path, LiveTeacher(broken), mode=mode)
    assert not list(tmp_path.glob("*.bin"))


def test_a_cache_of_spans_takes_4_bytes_a_token_and_loses_nothing(tmp_path, batch):
    """With the teacher's own tokens, every token is a span."""
    store(tmp_path, mode="spans")
    tokens = sum(len(example.target_ids) + 1 for example in EXAMPLES)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.bin")) == 4 * tokens
    stored, live = reopen(tmp_path, mode="spans")(batch), LiveTeacher(teacher())(batch)
    student = ModelOutput(torch.randn(*batch.labels.shape, VOCAB), torch.nn.Identity())
    term = SpanTerm(loss=span_kl)
    expected = term(student, live, batch)
    torch.testing.assert_close(term(student, stored, batch), expected)
    with pytest.raises(UserError, match="stored how probable spans of text are"):
        DivergenceTerm(loss=forward_kl)(student, stored, batch)


class SlowTeacher(LiveTeacher):
    def __call__(self, batch: Batch):
        time.sleep(0.1)
        return super().__call__(batch)


def _make_shards(folder, started):
    """What one of two processes does; gives how many shards it made."""
    torch.set_num_threads(1)  # the last bits of a product depend on their number
    source, made = SlowTeacher(teacher()), MODES["samples"](4, VOCAB, quantised=True)
    calls = []
    encode = made.encode
    made.encode = lambda *given: (calls.append(1), encode(*given))[1]
    started.wait()
    write_shards(source, made, EXAMPLES, SPECIAL, folder, CPU, 2)
    return len(calls)


def _in_process(folder, started, results):
    results.put(_make_shards(folder, started))


def test_two_processes_share_the_shards_and_make_what_one_makes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    torch.set_num_threads(1)
    for folder in (one, two):
        folder.mkdir()
    store(one, k=4, mode="samples", shard_examples=2)
    context = multiprocessing.get_context("spawn")
    started, results = context.Barrier(2), context.Queue()
    other = context.Process(target=_in_process, args=(two, started, results))
    other.start()
    made = [_make_shards(two, started), results.get(timeout=60)]
    other.join()
    assert sum(made) == 10  # 20 examples, two in each shard, each made once
    assert min(made) >= 3
    files = sorted(path.name for path in one.glob("*.bin"))
    assert len(files) == 10
    assert files == sorted(path.name for path in two.glob("*.bin"))
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_what_is_there_is_not_made_again(tmp_path):
    store(tmp_path)
    files = sorted(tmp_path.glob("*.bin"))
    before = {path: path.stat().st_mtime_ns for path in files}
    contents = files[2].read_bytes()
    files[2].unlink()
    store(tmp_path)
    assert files[2].read_bytes() == contents
    changed = [path for path in files if path.stat().st_mtime_ns != before[path]]
    assert changed == [files[2]]

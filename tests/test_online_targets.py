"""Text that is written during training: by whom, from what distribution, and again after a stop."""

from functools import partial

import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model

from nlg_distill.data.batch import IGNORE_INDEX, Author, collate, joined, with_targets
from nlg_distill.decoding import LengthLimit, greedy_search, sample
from nlg_distill.distributions import log_mixture
from nlg_distill.errors import UserError
from nlg_distill.losses import LinearSchedule, nll
from nlg_distill.targets import (
    AdaptiveReplay,
    Beam,
    ContrastivePairs,
    Gold,
    Mixture,
    Sampling,
    SpeculativeSamples,
    StudentSamples,
    TeacherMixedSamples,
    TeacherSamples,
    Writers,
)
from nlg_distill.targets.combined import CombinedWriter, verified

SAMPLING = Sampling()
POLICIES = {
    "student": StudentSamples(sampling=SAMPLING),
    "speculative": SpeculativeSamples(k=3, sampling=SAMPLING),
    "teacher_mixed": TeacherMixedSamples(alpha=0.2, sampling=SAMPLING),
    "contrastive": ContrastivePairs(writing=Beam(beam_size=1, num_hypotheses=1), sampling=SAMPLING),
}


@pytest.fixture
def batch():
    return collate(toy_examples(5), SPECIAL)


@pytest.fixture
def writers():
    return Writers(student=toy_model().eval(), teacher=toy_model().eval(), special=SPECIAL)


def texts(batch, author):
    """The texts of one author, by example."""
    return {
        number: [label for label in labels if label != IGNORE_INDEX]
        for number, by, labels in zip(
            batch.example_ids.tolist(), batch.authors.tolist(), batch.labels.tolist(), strict=True
        )
        if by == author
    }


@pytest.mark.parametrize("name", POLICIES)
def test_every_source_gets_a_text_that_ends_and_is_shifted(name, batch, writers):
    written = POLICIES[name](batch, writers, 0.0)
    own = texts(written, Author.STUDENT)
    assert sorted(own) == batch.example_ids.tolist()
    assert all(text[-1] == SPECIAL.end and SPECIAL.end not in text[:-1] for text in own.values())
    mask = written.target_mask[:, 1:]
    assert (written.decoder_input_ids[:, 0] == SPECIAL.begin).all()
    assert (written.decoder_input_ids[:, 1:][mask] == written.labels[:, :-1][mask]).all()
    assert not written.labels.requires_grad


def test_a_text_that_a_limit_cut_has_no_end_to_learn(batch):
    targets, ended = [[4, 5], [5, 6], [3], [4], [6]], [False, True, True, False, True]
    written = with_targets(batch, targets, SPECIAL, Author.STUDENT, ended=ended)
    whole = with_targets(batch, targets, SPECIAL, Author.STUDENT, ended=[True] * 5)
    expected = [[4, 5], [5, 6, 2], [3, 2], [4], [6, 2]]
    assert list(texts(written, Author.STUDENT).values()) == expected
    assert (written.decoder_input_ids == whole.decoder_input_ids).all()


@pytest.mark.parametrize("name", [*POLICIES, "replay"])
def test_texts_that_never_end_are_trained_on_without_an_end(name, batch, writers):
    for model in (writers.student, writers.teacher):
        torch.nn.init.constant_(model.projection.bias[SPECIAL.end], -50.0)
    replay = AdaptiveReplay(sampling=SAMPLING, step=1.0, tolerance=0.0)
    replay.share = 1.0
    policy = POLICIES.get(name, replay)
    longest = (LengthLimit()(batch.source_mask) - 1).tolist()
    for progress in (0.0, 1.0):  # a replay draws first, and then reads its buffer
        own = texts(policy(batch, writers, progress), Author.STUDENT)
        assert [len(text) for text in own.values()] == longest
        assert not any(SPECIAL.end in text for text in own.values())


@pytest.mark.parametrize("name", POLICIES)
def test_the_seed_decides_what_is_drawn(name, batch, writers):
    def draw(seed):
        torch.manual_seed(seed)
        return texts(POLICIES[name](batch, writers, 0.0), Author.STUDENT)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_two_texts_of_a_source_stand_side_by_side(batch, writers):
    gold = texts(batch, Author.GOLD)
    beside_gold = POLICIES["teacher_mixed"](batch, writers, 0.0)
    assert texts(beside_gold, Author.GOLD) == gold
    pairs = POLICIES["contrastive"](batch, writers, 0.0)
    assert texts(pairs, Author.TEACHER) == gold  # what was picked before training
    assert len(pairs.labels) == 2 * len(batch.labels)


def test_joined_batches_say_what_each_says_alone(batch):
    model = toy_model()
    targets, ended = [[4], [5, 6], [3] * 9, [4], [6]], [True] * 5
    other = with_targets(batch, targets, SPECIAL, Author.STUDENT, ended=ended)
    both = joined(batch, other, SPECIAL)
    whole = nll(model(both).logits, both.labels).sum()
    parts = sum(nll(model(one).logits, one.labels).sum() for one in (batch, other))
    torch.testing.assert_close(whole, parts)


def distributions(vocab=6):
    student, teacher = torch.randn(2, vocab).log_softmax(-1)
    return student, teacher


@pytest.mark.parametrize("k", [1, 2, 6, 9])
def test_verified_is_propose_then_replace(k):
    student, teacher = distributions()
    q, p = student.exp().tolist(), teacher.exp().tolist()
    top = sorted(range(6), key=lambda token: -p[token])[:k]
    rejected = sum(q[token] for token in range(6) if token not in top)
    expected = [(q[t] if t in top else 0.0) + rejected * p[t] for t in range(6)]
    torch.testing.assert_close(verified(student, teacher, k=k).exp(), torch.tensor(expected))


@pytest.mark.parametrize(
    "settings", [{"sampling_temperature": 0.5}, {"top_k": 2}, {"top_p": 0.5}, {}]
)
def test_sampling_sharpens_what_the_student_proposes_and_not_what_the_teacher_says(settings):
    q = torch.tensor([0.05, 0.05, 0.4, 0.25, 0.15, 0.1])
    p = torch.tensor([0.02, 0.03, 0.1, 0.4, 0.3, 0.15])
    student, teacher = q.log(), p.log()
    q[:2] = 0  # padding and the like are never proposed
    if "sampling_temperature" in settings:
        q = q**2
    elif settings:  # the two largest are also the fewest with half of the mass
        q[q < q.topk(2).values[1]] = 0
    q = (q / q.sum()).tolist()
    policy = SpeculativeSamples(k=2, sampling=Sampling(**settings))
    rejected = q[2] + q[5]
    expected = [(q[t] if t in (3, 4) else 0.0) + rejected * p[t].item() for t in range(6)]
    found = policy.combine(student, teacher, no_text=[0, 1]).exp()
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_student_that_is_never_corrected_writes_what_its_sampling_says(batch, writers):
    policy = SpeculativeSamples(k=7, sampling=Sampling(top_k=1))
    drawn = [texts(policy(batch, writers, 0.0), Author.STUDENT) for _ in range(2)]
    found = greedy_search(writers.student, batch.source_ids, batch.source_mask, SPECIAL)
    greedy = with_targets(
        batch,
        [h.token_ids for [h] in found],
        SPECIAL,
        Author.STUDENT,
        ended=[h.ended for [h] in found],
    )
    assert drawn == [texts(greedy, Author.STUDENT)] * 2


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_mixture_is_the_mean_of_probabilities(share):
    student, teacher = distributions()
    expected = share * student.exp() + (1 - share) * teacher.exp()
    torch.testing.assert_close(log_mixture(student, teacher, share).exp(), expected)


def test_a_combined_writer_of_one_is_that_one(batch, writers):
    def draw(model):
        generator = torch.Generator().manual_seed(5)
        return sample(model, batch.source_ids, batch.source_mask, SPECIAL, generator=generator)

    student, teacher = writers.student, writers.teacher
    for share, alone in [(1.0, student), (0.0, teacher)]:
        writer = CombinedWriter(student, teacher, partial(log_mixture, share=share))
        assert [h[0].token_ids for h in draw(writer)] == [h[0].token_ids for h in draw(alone)]


def test_a_mixture_takes_each_policy_with_its_share(batch, writers):
    policy = Mixture(share=0.3, own=POLICIES["student"], otherwise=Gold())
    chosen = [int(policy(batch, writers, 0.0).authors[0]) for _ in range(300)]
    assert set(chosen) == {Author.GOLD, Author.STUDENT}
    share = chosen.count(Author.STUDENT) / 300
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 300) ** 0.5
    growing = Mixture(share=lambda progress: progress, own=POLICIES["student"], otherwise=Gold())
    assert int(growing(batch, writers, 0.0).authors[0]) == Author.GOLD
    assert int(growing(batch, writers, 1.0).authors[0]) == Author.STUDENT


def test_replay_starts_with_gold_and_follows_the_validation_loss(batch, writers):
    policy = AdaptiveReplay(sampling=SAMPLING, step=0.5, tolerance=0.1)
    assert policy(batch, writers, 0.0) is batch
    shares = []
    for loss in [3.0, 3.05, 3.2, 2.0, 2.5]:
        policy.after_validation(loss)
        shares.append(policy.share)
    assert shares == [0.0, 0.0, 0.5, 0.5, 1.0]


def test_replay_draws_at_first_and_reads_its_buffer_at_the_end(batch, writers):
    policy = AdaptiveReplay(sampling=SAMPLING, step=1.0, tolerance=0.0)
    policy.share = 1.0
    first, second = (texts(policy(batch, writers, 0.0), Author.STUDENT) for _ in range(2))
    assert first != second
    other = Writers(student=toy_model().eval(), teacher=None, special=SPECIAL)
    assert texts(policy(batch, other, 1.0), Author.STUDENT) == second

    resumed = AdaptiveReplay(sampling=SAMPLING, step=1.0, tolerance=0.0)
    resumed.load_state_dict(policy.state_dict())
    assert texts(resumed(batch, other, 1.0), Author.STUDENT) == second
    assert resumed.share == 1.0


def replay_in_one_of_two(rank, folder):
    """Draws for some sources, validates, draws for the first again, validates."""
    torch.manual_seed(rank)
    address = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=2)
    policy = AdaptiveReplay(sampling=SAMPLING, step=1.0, tolerance=0.0)
    policy.share = 1.0
    writers = Writers(student=toy_model().eval(), teacher=None, special=SPECIAL)
    examples = toy_examples(5)
    policy(collate(examples[:3] if rank else examples[2:], SPECIAL), writers, 0.0)
    policy.after_validation(1.0)
    before = dict(policy.texts)
    if rank == 0:
        policy(collate(examples[:1], SPECIAL), writers, 0.0)
    policy.after_validation(1.0)
    own = policy.texts[0] != before[0]
    torch.save([before, policy.get_extra_state(), own], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_exchange_what_they_drew(tmp_path):
    torch.multiprocessing.spawn(replay_in_one_of_two, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == second
    before, state, drawn_anew = first
    assert sorted(before) == sorted(state["texts"]) == [0, 1, 2, 3, 4]
    assert drawn_anew
    assert {number: before[number] for number in (1, 2, 3, 4)} == {
        number: state["texts"][number] for number in (1, 2, 3, 4)
    }


def mixed_by(sampling):
    return TeacherMixedSamples(alpha=0.2, sampling=sampling)


def mixture(own, otherwise=None):
    return Mixture(share=0.5, own=own, otherwise=otherwise or Gold())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(share=1.0, own=POLICIES["student"], otherwise=Gold()), "between 0 and 1"),
        (
            lambda: Mixture(
                share=LinearSchedule(start=0.0, end=3.0), own=POLICIES["student"], otherwise=Gold()
            ),
            r"share must stay in \[0, 1\], but goes from 0\.0 to 3\.0",
        ),
        (lambda: mixture(Gold()), "own=Gold is not the student's own text alone"),
        (lambda: mixture(POLICIES["speculative"]), "own=SpeculativeSamples is not"),
        (lambda: mixture(POLICIES["teacher_mixed"]), "own=TeacherMixedSamples is not"),
        (lambda: mixture(POLICIES["contrastive"]), "own=ContrastivePairs is not"),
        (
            lambda: mixture(AdaptiveReplay(sampling=SAMPLING, step=0.1, tolerance=0.0)),
            "own=AdaptiveReplay is not",
        ),
        (
            lambda: mixture(POLICIES["student"], POLICIES["student"]),
            "otherwise=StudentSamples writes during training",
        ),
        (lambda: Sampling(sampling_temperature=0.0), "sampling_temperature must be positive"),
        (lambda: Sampling(top_k=0), "top_k must be at least 1, got 0"),
        (lambda: Sampling(top_p=1.5), r"top_p must be in \(0, 1\], got 1.5"),
        (lambda: SpeculativeSamples(k=0, sampling=SAMPLING), "k must be at least 1, got 0"),
        (lambda: TeacherMixedSamples(alpha=1.0, sampling=SAMPLING), r"alpha must be in \[0, 1\)"),
        (lambda: mixed_by(Sampling(sampling_temperature=0.9)), "sampling_temperature=1 and leave"),
        (lambda: mixed_by(Sampling(top_k=5)), "leave out top_k"),
        (lambda: mixed_by(Sampling(top_p=0.9)), "top_p=0.9"),
        (lambda: TeacherSamples(writing=Sampling(num_hypotheses=2)), "must be 1, got 2"),
        (lambda: AdaptiveReplay(sampling=SAMPLING, step=0.0, tolerance=0.0), "step must be in"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda sampling: TeacherSamples(writing=sampling),
        lambda sampling: StudentSamples(sampling=sampling),
        lambda sampling: SpeculativeSamples(k=3, sampling=sampling),
        lambda sampling: TeacherMixedSamples(alpha=0.2, sampling=sampling),
        lambda sampling: AdaptiveReplay(sampling=sampling, step=0.1, tolerance=0.0),
        lambda sampling: ContrastivePairs(
            writing=Beam(beam_size=1, num_hypotheses=1), sampling=sampling
        ),
    ],
)
def test_several_drawn_texts_for_a_source_are_refused(make):
    with pytest.raises(UserError, match="num_hypotheses must be 1, got 2"):
        make(Sampling(num_hypotheses=2))

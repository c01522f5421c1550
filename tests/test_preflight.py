"""What cannot work is refused when the config is read; vocabularies are compared beforehand."""

import pytest
import torch
from conftest import OTHER_PRECISION, SPECIAL, toy_examples, toy_model

from nlg_distill.config import check, compose
from nlg_distill.data.batch import collate
from nlg_distill.decoding import greedy_search
from nlg_distill.errors import UserError
from nlg_distill.losses import DivergenceTerm, VocabularyTerm
from nlg_distill.rehearsal import rehearse
from nlg_distill.stages.plan import plan
from nlg_distill.store import Store
from nlg_distill.tables.workers import PlannedRun, jobs_of
from nlg_distill.targets import Gold
from nlg_distill.teachers.signal import Gives
from nlg_distill.teachers.vocabulary import (
    CutModel,
    Relation,
    compare_vocabularies,
    output_size,
)

# Vocabularies.

PIECES = ["<pad>", "a", "b", "c"]


def compared(teacher_pieces, student_size=4, teacher_size=4):
    return compare_vocabularies(
        PIECES, teacher_pieces, student_size=student_size, teacher_size=teacher_size
    )


def test_one_vocabulary_is_compared_as_it_is():
    found = compared(PIECES)
    assert (found.relation, found.cut, found.problem) == (Relation.SAME, None, None)
    assert "share their 4 pieces" in found.sentence
    found.refuse_unless_comparable()


def test_a_padded_teacher_is_cut_to_the_student_and_that_is_said():
    found = compared(PIECES, teacher_size=8)
    assert (found.relation, found.cut) == (Relation.PADDED, 4)
    assert "no piece has an id from 4 on" in found.sentence
    assert "cut to 4" in found.sentence
    found.refuse_unless_comparable()


@pytest.mark.parametrize(
    ("given", "relation", "message"),
    [
        (dict(teacher_pieces=PIECES, student_size=8), Relation.PADDED, "Give the student 4 rows"),
        (
            dict(teacher_pieces=["<pad>", "b", "a", "d"]),
            Relation.OVERLAPPING,
            r"3 in common, but not with the same ids.*targets=teacher_beam",
        ),
        (
            dict(teacher_pieces=[*PIECES, "d"], teacher_size=5),
            Relation.OVERLAPPING,
            "4 in common",
        ),
        (
            dict(teacher_pieces=["x", "y"]),
            Relation.DISJOINT,
            r"disjoint: 4 pieces of the student, 2 of the teacher.*targets=teacher_beam",
        ),
    ],
)
def test_vocabularies_that_cannot_be_compared_are_refused(given, relation, message):
    found = compared(**given)
    assert found.relation == relation
    with pytest.raises(UserError, match=message):
        found.refuse_unless_comparable()


def test_an_output_layer_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="the teacher's output layer has 3 rows for 4 pieces"):
        compared(PIECES, teacher_size=3)


def test_a_cut_model_is_the_model_without_its_last_logits():
    model = toy_model(9).eval()
    cut = CutModel(model, 7)
    batch = collate(toy_examples(4), SPECIAL)
    assert output_size(model, SPECIAL) == 9
    assert output_size(cut, SPECIAL) == 7
    torch.testing.assert_close(cut(batch).logits, model(batch).logits[..., :7])
    torch.nn.init.constant_(model.projection.bias[7:], 100.0)
    written = greedy_search(cut, batch.source_ids, batch.source_mask, SPECIAL)
    assert max(i for own in written for h in own for i in [*h.token_ids, 0]) < 7


# What a source cannot give.


class Writes(Gold):
    needs_live_teacher = True


class Online(Gold):
    online = True


class FeatureTerm(DivergenceTerm):
    asks = frozenset({Gives.FEATURES})


class DrawnTerm(VocabularyTerm):
    asks = frozenset({Gives.VOCABULARY, Gives.SAMPLES})


KL = "experiment=word_kd"
DRAWS = ["teacher=cached", "teacher.mode=samples", "loss=[nll,sampled_kl]"]
TERM = "loss.forward_kl._target_="


def check_and_plan(cfg, overrides):
    check(cfg)
    return plan(cfg, overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher=text_only", KL], r"loss.forward_kl asks .* a TextOnlyTeacher .*loss=\[nll\]"),
        (["teacher=cached", KL, f"{TERM}test_preflight.FeatureTerm"], "inner states.*teacher=live"),
        (["teacher=ensemble", KL, f"{TERM}test_preflight.FeatureTerm"], "loss.forward_kl asks for"),
        (["teacher=text_only", KL, f"{TERM}test_preflight.FeatureTerm"], "set teacher=live"),
        (
            ["teacher=cached", KL, f"{TERM}nlg_distill.losses.VocabularyTerm"],
            r"loss.forward_kl asks for the probability of every token.*loss=\[nll,forward_kl\]",
        ),
        (["teacher=text_only", "loss=[adaptive_kl]"], r"every token.*live, or train on the .*text"),
        (["teacher=cached", "teacher.mode=samples", "loss=[adaptive_kl]"], "live, or train on the"),
        (["teacher=cached", "teacher.mode=samples", KL], "loss.forward_kl .*teacher.mode=top_k"),
        (["teacher=cached", KL, f"{TERM}test_preflight.DrawnTerm"], "teacher.mode=samples"),
        (
            ["teacher=cached", KL, "loss.forward_kl.loss.temperature=2"],
            "temperature=2: .*leave",
        ),
        (
            ["teacher=cached", KL, f"{TERM}nlg_distill.losses.TopKTerm", "+loss.forward_kl.k=33"],
            "loss.forward_kl.k=33 .*teacher.k=32: raise teacher.k",
        ),
        (
            [*DRAWS, "+wrapper@loss.sampled_kl=teacher_entropy_weights"],
            "loss.sampled_kl.token_weights: TeacherEntropyWeights reads .*set teacher=live",
        ),
        ([*DRAWS, "teacher.k=12"], "loss.sampled_kl.num_samples=32, .*teacher.k=12 draws"),
        (["teacher=cached", "targets._target_=test_preflight.Writes"], "policy Writes asks"),
        (["teacher=text_only", "targets._target_=test_preflight.Writes"], "policy Writes asks"),
        (["teacher=cached", "targets._target_=test_preflight.Online"], "policy Online trains on"),
        *[
            (
                [f"targets={name}", *loss],
                rf"{policy} trains on text .*{stated}.*loss=\[forward_kl\]",
            )
            for name, policy in [
                ("student_samples", "StudentSamples"),
                ("replay", "AdaptiveReplay"),
                ("mixture", "Mixture"),
                ("contrastive", "ContrastivePairs"),
            ]
            for loss, stated in [
                ([], r"loss=\[nll\]"),
                (["loss=[nll,forward_kl]", "+loss.forward_kl.written_by=gold"], "nll,forward_kl"),
            ]
        ],
        (["teacher=cached", "teacher@teacher.source=text_only"], "teacher.source must be"),
        (
            ["targets=teacher_mixed", "targets.alpha=0", "loss=[nll]", "init=experiment"],
            "the student would learn from itself",
        ),
        (["teacher=cached", "teacher.k=0", KL], "teacher.k must be at least 1, got 0"),
        (["teacher=cached", "teacher.mode=all", KL], "teacher.mode must be"),
        (
            ["teacher=cached", "teacher@teacher.source=ensemble", "teacher.source.seeds=[2,2]", KL],
            r"different numbers, got \[2, 2\]",
        ),
        (["teacher=ensemble", "teacher.seeds=[]", KL], "teacher.seeds must be"),
        (
            ["init=experiment", "init.experiment=teacher"],
            "init.experiment=teacher trains no student.*init=copy_layers",
        ),
        (["teacher=ensemble", "teacher.average=median"], "teacher.average must be"),
    ],
)
def test_what_a_source_cannot_give_is_refused_with_the_remedy(overrides, message):
    cfg = compose(overrides)
    with pytest.raises(UserError, match=message):
        check_and_plan(cfg, overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["teacher=text_only", "experiment=seq_kd"],
        ["targets=replay", "loss=[nll,forward_kl]", "+loss.forward_kl.written_by=student"],
        ["targets=speculative", "loss=[nll]"],
        ["teacher=cached", "teacher.mode=samples", KL, f"{TERM}test_preflight.DrawnTerm"],
        [*DRAWS, "+wrapper@loss.sampled_kl=student_loss_weights"],
        ["teacher=cached", "loss=[nll,top_k_kl]"],
        ["teacher=cached", "experiment=seq_kd_seq_inter_word_kd"],
        ["teacher=ensemble", KL, f"{TERM}nlg_distill.losses.VocabularyTerm"],
        ["teacher=ensemble", "targets._target_=test_preflight.Writes"],
        ["teacher=live", KL, f"{TERM}test_preflight.FeatureTerm"],
    ],
)
def test_what_a_source_can_give_is_planned(overrides):
    assert check_and_plan(compose(overrides), overrides).subject.name == "student"


# The stages.


def stages(*overrides):
    return plan(compose(overrides), overrides)


def signal(*overrides):
    return stages(*overrides).subject.parents["teacher_signal"]


def test_a_cache_takes_the_teachers_place_among_the_students_parents():
    live, cached = stages(KL).subject, stages(KL, "teacher=cached").subject
    assert set(live.parents) == {"corpus", "tokenizer", "teacher"}
    assert set(cached.parents) == {"corpus", "tokenizer", "teacher_signal"}
    stored = cached.parents["teacher_signal"]
    assert stored.parents == live.parents
    written = signal("experiment=seq_kd_word_kd", "teacher=cached")
    assert set(written.parents) == {"corpus", "tokenizer", "teacher", "teacher_text"}
    assert "teacher" not in stages("experiment=seq_kd", "teacher=cached").subject.config


def test_the_key_of_a_cache_follows_what_changes_it_and_nothing_else():
    base = [KL, "teacher=cached"]
    key = signal(*base).key
    for same in (
        "seed=7",
        "model@student_model=lstm_64",
        "student_training.max_steps=400",
        "loss.forward_kl.weight=2",
    ):
        assert signal(*base, same).key == key, same
    others = [
        "teacher.k=16",
        "teacher.mode=samples",
        "teacher.quantised=false",
        "teacher_seed=2",
        "teacher@teacher.source=ensemble",
        "targets=teacher_beam",
        f"trainer.precision={OTHER_PRECISION}",
        "data=hsk",
    ]
    extra = {"teacher.mode=samples": [f"{TERM}test_preflight.DrawnTerm"]}
    keys = {signal(*base, other, *extra.get(other, [])).key for other in others}
    assert len(keys | {key}) == len(others) + 1


def test_an_ensemble_is_made_of_teachers_that_others_share():
    one = stages(KL, "teacher_seed=2").subject.parents["teacher"]
    several = stages(KL, "teacher=ensemble", "teacher.seeds=[1,2]")
    assert several.subject.parents["teacher_2"] == one
    assert several.scores.config["teacher"]["seeds"] == [1, 2]
    written = stages("experiment=seq_kd", "teacher=ensemble", "teacher.seeds=[1,2]")
    assert set(written.subject.parents["teacher_text"].parents) >= {"teacher", "teacher_2"}


def test_a_live_teachers_text_and_scores_do_not_know_of_sources():
    live, cached = stages("experiment=seq_kd"), stages("experiment=seq_kd", "teacher=cached")
    assert live.scores.key == cached.scores.key
    assert "teacher" not in live.scores.config
    assert "teacher" not in live.subject.parents["teacher_text"].config


def test_a_table_schedules_the_cache_after_its_teacher(tmp_path):
    overrides = (KL, "teacher=cached", "teacher_training.threads=2")
    run = PlannedRun("row", "row", overrides, compose(overrides), stages(*overrides))
    by_label = {job.label: job for job in jobs_of(Store(tmp_path), [run], set())}
    assert list(by_label) == ["corpus", "tokenizer", "teacher", "teacher signal", "row"]
    stored = by_label["teacher signal"]
    assert stored.threads == 2
    assert by_label["teacher"].provides <= stored.needs
    assert stored.provides <= by_label["row"].needs


# A tokenizer of the teacher's own.

OWN = ["tokenizer@teacher_tokenizer=sentencepiece", "teacher_tokenizer.vocab_size=1000"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=[nll,hidden_mse]"], r"loss.hidden_mse needs .*=shared.*loss=\[nll,forward_kl\]"),
        (["loss=[nll,span_kl,attention_kl]"], "loss.attention_kl needs .*targets=teacher_beam"),
        (["targets=speculative"], "policy SpeculativeSamples needs"),
        (["targets=student_samples", "loss=[span_kl]"], "policy StudentSamples needs"),
        (["init=embeddings"], "start Embeddings needs"),
    ],
)
def test_what_needs_the_students_tokens_is_refused_with_the_remedy(overrides, message):
    cfg = compose([*overrides, *OWN])
    with pytest.raises(UserError, match=message):
        check_and_plan(cfg, overrides)
    with pytest.raises(UserError, match=message):
        rehearse(cfg)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=[nll,span_kl]"],
        ["loss=[nll,span_kl]", "teacher=cached_spans"],
        ["loss=[nll,span_kl,sorted_wasserstein]", "teacher=ensemble", "targets=teacher_beam"],
        ["loss=[nll,sorted_wasserstein]", "loss.sorted_wasserstein.loss.temperature=2.0"],
        [KL],
        [KL, "teacher=cached"],
        ["loss=[nll,sampled_kl]", "teacher=cached", "teacher.mode=samples"],
        ["loss=[nll,span_kl,decoupled_kl]"],
        ["experiment=seq_kd"],
    ],
)
def test_what_compares_spans_or_distributions_or_reads_text_alone_is_not_refused(overrides):
    cfg = compose([*overrides, *OWN])
    rehearse(cfg)
    subject = check_and_plan(cfg, overrides).subject
    assert "teacher" in {stage.name for stage in subject.ancestry()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["teacher=text_only", "loss=[span_kl]"],
            "asks for the probability of spans .*cached_spans",
        ),
        (["teacher=cached", "loss=[span_kl]"], "CachedTeacher does not give: set teacher=live or"),
        (
            ["teacher=cached_spans", "loss=[sorted_wasserstein]"],
            "asks for the probability of every",
        ),
        (["teacher=cached_spans", KL], "loss.forward_kl asks for"),
        (["teacher=cached", "teacher.mode=spans"], "does not go with teacher.k=32"),
        (
            ["teacher=cached_spans", "teacher.quantised=true"],
            "quantised=True.*=cached_spans for spans",
        ),
        (["teacher=cached_spans", "teacher.mode=top_k"], "does not go with teacher.k=None"),
    ],
)
def test_a_cache_of_spans_holds_nothing_else(overrides, message):
    given = (
        overrides
        if any("loss" in o or o == KL for o in overrides)
        else [*overrides, "loss=[span_kl]"]
    )
    cfg = compose(given)
    with pytest.raises(UserError, match=message):
        check_and_plan(cfg, given)


def test_the_students_tokenizer_is_not_what_is_shared():
    with pytest.raises(UserError, match=r"data\.tokenizer is the student's"):
        rehearse(compose(["tokenizer@data.tokenizer=shared"]))


def test_a_teacher_with_its_own_tokenizer_changes_what_it_makes_and_nothing_else():
    assert stages(*OWN).scores.key == stages().scores.key  # nobody asks a teacher
    shared, own = stages("experiment=seq_kd"), stages("experiment=seq_kd", *OWN)
    written = [s.subject.parents["teacher_text"] for s in (shared, own)]
    assert own.tokenizer == shared.tokenizer == own.subject.parents["tokenizer"]
    assert written[0].parents["tokenizer"] == shared.tokenizer
    theirs = written[1].parents["tokenizer"]
    assert theirs.config["tokenizer"]["vocab_size"] == 1000
    assert theirs == written[1].parents["teacher"].parents["tokenizer"]
    assert written[1].parents["corpus"] == own.corpus
    alone = stages("experiment=teacher", *OWN)
    assert alone.subject == written[1].parents["teacher"]
    assert alone.scores.parents["tokenizer"] == theirs

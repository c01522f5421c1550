"""The objective: a weighted sum of terms, each a sum over target tokens."""

import math

import pytest
import torch
from loss_cases import batch_of, configured, labels_like, output, sides

from nlg_distill.data.batch import Author, Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.losses import DivergenceTerm, LabelTerm, Objective, forward_kl, nll
from nlg_distill.losses.reduce import sum_over_targets
from nlg_distill.teachers.signal import Gives, TeacherSignal


def test_nll_rejects_negative_label_smoothing():
    with pytest.raises(UserError, match=r"label_smoothing must be in \[0, 1\)"):
        nll(torch.randn(2, 3, 5), torch.zeros(2, 3, dtype=torch.long), label_smoothing=-0.1)


def test_nll_of_bfloat16_logits_is_computed_in_float32():
    student, labels = torch.randn(2, 3, 5).bfloat16(), torch.zeros(2, 3, dtype=torch.long)
    torch.testing.assert_close(nll(student, labels), nll(student.float(), labels))


def test_sum_ignores_what_is_masked_even_nan():
    values = torch.tensor([[1.0, math.nan], [2.0, math.inf]])
    mask = torch.tensor([[True, False], [True, False]])
    assert sum_over_targets(values, mask).item() == 3.0


def test_objective_refuses_no_terms_and_weights_without_effect():
    with pytest.raises(UserError, match="no term"):
        Objective({})
    with pytest.raises(UserError, match=r"weight must be positive, got 0"):
        Objective({"nll": LabelTerm(loss=nll, weight=0.0)})


def test_only_divergences_need_a_teacher():
    label, divergence = LabelTerm(loss=nll), DivergenceTerm(loss=forward_kl)
    assert not Objective({"nll": label}).needs_teacher
    assert Objective({"nll": label, "forward_kl": divergence}).needs_teacher


def test_what_is_no_term_is_refused_and_not_left_out():
    with pytest.raises(UserError, match=r"loss\.mine must be a Term, got a Linear"):
        Objective({"nll": LabelTerm(loss=nll), "mine": torch.nn.Linear(2, 2)})


def test_a_term_counts_the_texts_of_one_author():
    student, teacher = sides()
    batch = batch_of(labels_like(student))
    batch.authors[1] = Author.STUDENT
    signal = TeacherSignal(output(teacher))
    terms = {who: DivergenceTerm(loss=forward_kl, written_by=who) for who in ("student", "gold")}
    values = forward_kl(student, teacher)
    found = {who: term(output(student), signal, batch) for who, term in terms.items()}
    torch.testing.assert_close(found["student"], values[1].sum())
    torch.testing.assert_close(found["gold"], values[[0, 2]].sum())
    with pytest.raises(UserError, match="written_by must be one of gold, teacher, student"):
        DivergenceTerm(loss=forward_kl, written_by="nobody")


def test_a_live_teacher_is_asked_for_by_those_that_compare_inner_states():
    for name in ("hidden_mse", "hidden_cosine", "attention_kl", "value_relation_kl"):
        assert configured(name).asks == {Gives.FEATURES}
    for name in ("forward_kl", "top_k_kl", "nll"):
        assert Gives.FEATURES not in configured(name).asks


def test_a_begin_token_that_is_also_padding_masks_no_position():
    """Trap 7: T5 and Marian begin with the padding token; a mask on inputs drops position 0."""
    same = SpecialIds(pad=0, begin=0, end=2)
    batch = collate([Example(0, [3], [5, 6]), Example(1, [3], [5])], same)
    assert batch.decoder_input_ids[:, 0].tolist() == [0, 0]
    assert batch.target_mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.num_target_tokens == 5

"""What a student starts from."""

import pytest
import torch
from conftest import FAMILIES, SPECIAL, toy_examples, toy_model, toy_structure

from nlg_distill.data.batch import collate
from nlg_distill.errors import UserError
from nlg_distill.init.copy_layers import take_over
from nlg_distill.init.experiment import refuse_other_structure


@pytest.mark.parametrize("layers", [[0], [1], [0, 1], [1, 0]])
def test_each_layer_is_the_teacher_s(layers):
    teacher, student = toy_model(), toy_model(num_layers=len(layers))
    take_over(student, teacher, layers)
    for part in ("encoder", "decoder"):
        ours, theirs = getattr(student, part), getattr(teacher, part)
        for i, layer in enumerate(layers):
            for name in ("weight_ih_l{}", "weight_hh_l{}", "bias_ih_l{}", "bias_hh_l{}"):
                one, other = getattr(ours, name.format(i)), getattr(theirs, name.format(layer))
                torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(student.projection.weight, teacher.projection.weight)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_give_the_teacher(family):
    teacher, student = (toy_structure(family, num_layers=2).eval() for _ in range(2))
    batch = collate(toy_examples(4), SPECIAL)
    assert not torch.allclose(student(batch).logits, teacher(batch).logits)
    take_over(student, teacher, [0, 1])
    torch.testing.assert_close(student(batch).logits, teacher(batch).logits, rtol=0, atol=0)


@pytest.mark.parametrize("layers", [[1], [1, 1], [0, 2]])
@pytest.mark.parametrize(
    ("family", "parts"), [("transformer", ["encoder", "decoder"]), ("gpt", ["decoder"])]
)
def test_each_layer_of_a_transformer_is_the_teacher_s(family, parts, layers):
    (name,) = (name for name in FAMILIES if family in name)
    teacher = toy_structure(name, num_layers=3)
    student = toy_structure(name, num_layers=len(layers))
    take_over(student, teacher, layers)
    for part in parts:
        for i, layer in enumerate(layers):
            ours = getattr(student, part)[i].state_dict()
            theirs = getattr(teacher, part)[layer].state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(student.embedding.weight, teacher.embedding.weight)
    assert torch.equal(student.decoder_norm.weight, teacher.decoder_norm.weight)


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        ([0], {}, r"init.layers=\[0\] names 1 of .* the student has 2"),
        ([0, 1, 1], {}, r"init.layers=\[0, 1, 1\] names 3 of .* the student has 2"),
        ([0, 2], {}, "the teacher has no encoder.weight_ih_l2"),
        ([0, 1], {"hidden_size": 8}, r"is \[16, 6\] and the teacher's .* is \[12, 6\]"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, changes, message):
    with pytest.raises(UserError, match=message):
        take_over(toy_model(**changes), toy_model(), layers)


@pytest.mark.parametrize("family", ["transformer", "gpt"])
def test_heads_that_no_shape_tells_are_refused(family):
    (name,) = (name for name in FAMILIES if family in name)
    student, teacher = toy_structure(name, num_heads=1), toy_structure(name, num_heads=2)
    with pytest.raises(UserError, match="num_heads=1, but the teacher has 2"):
        take_over(student, teacher, [0, 1])
    with pytest.raises(UserError, match="num_heads is 2, this student's is 1"):
        refuse_other_structure(student, teacher, "word_kd")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 8},
            r"encoder.weight_ih_l0 is \[12, 6\], this .* \[16, 6\]: both",
        ),
        ({"num_layers": 1}, r"student's encoder.weight_ih_l1 is \[.*\], this student's is absent"),
        ({"num_layers": 3}, r"student's encoder.weight_ih_l2 is absent, this student's is \["),
    ],
)
def test_a_student_of_another_structure_is_no_start(changes, message):
    with pytest.raises(UserError, match=message):
        refuse_other_structure(toy_model(**changes), toy_model(), "baseline")
    refuse_other_structure(toy_model(), toy_model(), "baseline")

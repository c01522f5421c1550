"""What a student starts from."""

import pytest
import torch
from conftest import FAMILIES, SPECIAL, toy_examples, toy_model, toy_structure

from nlg_distill.config import check, compose
from nlg_distill.data.batch import collate
from nlg_distill.errors import UserError
from nlg_distill.init import CopyLayers, Embeddings, SliceWidth
from nlg_distill.init.experiment import refuse_other_structure
from nlg_distill.init.from_teacher import depths
from nlg_distill.models import (
    GPT,
    LSTMEncoderDecoder,
    TransformerEncoderDecoder,
    from_teacher,
)
from nlg_distill.rehearsal import rehearse
from nlg_distill.stages.models import build_model

(GPT_TINY,) = (name for name in FAMILIES if "gpt" in name)


@pytest.mark.parametrize("layers", [[0], [1], [0, 1], [1, 0]])
def test_each_layer_is_the_teacher_s(layers):
    teacher, student = toy_model(), toy_model(num_layers=len(layers))
    CopyLayers(layers=layers).hand_over(student, teacher)
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
    CopyLayers(layers=[0, 1]).hand_over(student, teacher)
    torch.testing.assert_close(student(batch).logits, teacher(batch).logits, rtol=0, atol=0)


def test_positions_of_another_kind_are_another_architecture():
    (name,) = (name for name in FAMILIES if "transformer" in name)
    turned, added = (toy_structure(name, num_layers=2, rotary=rotary) for rotary in (True, False))
    message = r"is a TransformerEncoderDecoder and the teacher a .* with rotary positions"
    with pytest.raises(UserError, match=message):
        CopyLayers(layers=[0, 1]).hand_over(added, turned)
    with pytest.raises(UserError, match=r"its student's architecture is .* with rotary positions"):
        refuse_other_structure(added, turned, "baseline")


@pytest.mark.parametrize("layers", [[1], [1, 1], [0, 2]])
@pytest.mark.parametrize(
    ("family", "parts"), [("transformer", ["encoder", "decoder"]), ("gpt", ["decoder"])]
)
def test_each_layer_of_a_transformer_is_the_teacher_s(family, parts, layers):
    (name,) = (name for name in FAMILIES if family in name)
    teacher = toy_structure(name, num_layers=3)
    student = toy_structure(name, num_layers=len(layers))
    CopyLayers(layers=layers).hand_over(student, teacher)
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
        CopyLayers(layers=layers).hand_over(toy_model(**changes), toy_model())


@pytest.mark.parametrize("family", ["transformer", "gpt"])
def test_heads_that_no_shape_tells_are_refused(family):
    (name,) = (name for name in FAMILIES if family in name)
    student, teacher = toy_structure(name, num_heads=1), toy_structure(name, num_heads=2)
    with pytest.raises(UserError, match="num_heads is 1, but the teacher has 2"):
        CopyLayers(layers=[0, 1]).hand_over(student, teacher)
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


@pytest.mark.parametrize(
    ("layers", "count", "expected"),
    [
        ("spaced", 3, [0, 2, 5]),
        ("spaced", 1, [0]),
        ("first", 2, [0, 1]),
        ("last", 2, [4, 5]),
        ([5, 5], 2, [5, 5]),
    ],
)
def test_layers_are_chosen_by_a_word_or_by_numbers(layers, count, expected):
    teacher, student = (
        toy_structure(GPT_TINY, num_layers=6),
        toy_structure(GPT_TINY, num_layers=count),
    )
    report = CopyLayers(layers=layers).hand_over(student, teacher)
    from_layers = [report[f"decoder.{i}.expand.weight"] for i in range(count)]
    assert from_layers == [f"decoder.{layer}.expand.weight" for layer in expected]
    assert set(report) == set(student.state_dict())


@pytest.mark.parametrize(
    ("layers", "message"), [("middle", "must be spaced"), ("last", "name one")]
)
def test_layers_that_cannot_be_chosen_are_refused(layers, message):
    teacher, student = toy_structure(GPT_TINY, num_layers=1), toy_structure(GPT_TINY, num_layers=2)
    teacher = student if layers == "middle" else teacher
    with pytest.raises(UserError, match=f"init.layers.*{message}"):
        CopyLayers(layers=layers).hand_over(student, teacher)


# Narrower students.

SIZES = {
    LSTMEncoderDecoder: (
        dict(embedding_size=12, hidden_size=16, num_layers=2),
        dict(embedding_size=8, hidden_size=8, num_layers=1),
    ),
    TransformerEncoderDecoder: (
        dict(hidden_size=16, num_layers=2, num_heads=4, feed_forward_size=24),
        dict(hidden_size=8, num_layers=1, num_heads=2, feed_forward_size=12),
    ),
    GPT: (
        dict(hidden_size=16, num_layers=2, num_heads=4, feed_forward_size=24),
        dict(hidden_size=8, num_layers=1, num_heads=2, feed_forward_size=12),
    ),
}


def sized(family, sizes, **changes):
    lstm = dict(bidirectional=True, tie_embeddings=False, embedding_std=0.4)
    own = {LSTMEncoderDecoder: lstm, TransformerEncoderDecoder: {"rotary": False}}
    own[GPT] = {"max_positions": 40}
    return family(7, dropout=0.0, **sizes, **(own.get(family, {}) | changes)).eval()


ROTARY = [(TransformerEncoderDecoder, {"rotary": True}), (GPT, {"max_positions": None})]


@pytest.mark.parametrize("by", ["importance", "order"])
@pytest.mark.parametrize(("family", "changes"), [*((f, {}) for f in SIZES), *ROTARY])
def test_at_the_teachers_widths_a_slice_is_the_teacher(family, changes, by):
    teacher, student = (sized(family, SIZES[family][0], **changes) for _ in range(2))
    batch = collate(toy_examples(4), SPECIAL)
    SliceWidth(by=by, layers="spaced").hand_over(student, teacher)
    torch.testing.assert_close(student(batch).logits, teacher(batch).logits, rtol=0, atol=0)


def grown(narrow, wide, kept):
    """Makes `wide` do what `narrow` does: it has its units at `kept`, the others are dead."""
    own = narrow.state_dict()
    for name, parameter in wide.state_dict().items():
        parameter.zero_()
        block = [torch.arange(size) for size in parameter.shape]
        for dimension, axis in enumerate(wide.axes(name)):
            if axis is not None:
                block[dimension] = axis.entries(kept, parameter.shape[dimension])
        parameter[torch.meshgrid(*block, indexing="ij")] = own[name]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_dead_units_of_an_lstm_are_what_importance_cuts(bidirectional):
    batch = collate(toy_examples(4), SPECIAL)
    lstm = dict(num_layers=2, tie_embeddings=False, embedding_std=0.4, dropout=0.0)
    lstm["bidirectional"] = bidirectional
    narrow, student, wide = (
        LSTMEncoderDecoder(7, embedding_size=size, hidden_size=size, **lstm).eval()
        for size in (4, 4, 8)
    )
    ways = {"forward": [0, 3], "reverse": [1, 2]} if bidirectional else {"forward": [1, 3, 4, 7]}
    kept = {name: torch.tensor(units) for name, units in ways.items()}
    grown(narrow, wide, kept | {"embedding": torch.tensor([0, 2, 5, 6])})
    torch.testing.assert_close(wide(batch).logits, narrow(batch).logits)
    SliceWidth(by="importance", layers="spaced").hand_over(student, wide)
    torch.testing.assert_close(student(batch).logits, narrow(batch).logits)
    SliceWidth(by="order", layers="spaced").hand_over(student, wide)
    assert not torch.allclose(student(batch).logits, narrow(batch).logits)


@pytest.mark.parametrize("family", [TransformerEncoderDecoder, GPT])
def test_dead_feed_forward_units_are_what_importance_cuts(family):
    batch = collate(toy_examples(4), SPECIAL)
    sizes = SIZES[family][0]
    wide, student = sized(family, sizes), sized(family, sizes | {"feed_forward_size": 20})
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            if "expand" in name or "contract.weight" in name:
                parameter.movedim(-1 if "contract" in name else 0, 0)[[1, 5, 6, 20]] = 0
    SliceWidth(by="importance", layers="spaced").hand_over(student, wide)
    torch.testing.assert_close(student(batch).logits, wide(batch).logits)


@pytest.mark.parametrize("family", [TransformerEncoderDecoder, GPT])
def test_heads_stay_whole_and_the_best_are_kept(family):
    teacher, student = (sized(family, sizes) for sizes in SIZES[family])
    part = "attention" if family is GPT else "self_attention"
    query, key_value = (f"decoder.0.{part}.{name}.weight" for name in ("query", "key_value"))
    given = teacher.state_dict()
    with torch.no_grad():
        for name in (query, key_value):
            given[name].unflatten(0, (-1, 4, 4))[:, [1, 3]] *= 10  # 4 heads, each 4 wide
        given["embedding.weight"][:, 8:] *= 100  # of `hidden`, the second half
    SliceWidth(by="importance", layers="first").hand_over(student, teacher)
    own = student.state_dict()
    rows = [4, 5, 6, 7, 12, 13, 14, 15]
    assert torch.equal(own[query], given[query][rows][:, 8:])
    assert torch.equal(own[key_value], given[key_value][rows + [16 + r for r in rows]][:, 8:])
    SliceWidth(by="order", layers="first").hand_over(student, teacher)
    assert torch.equal(student.state_dict()[query], given[query][:8, :8])


@pytest.mark.parametrize("family", SIZES)
def test_a_slice_says_what_came_from_where(family):
    teacher, student = (sized(family, sizes) for sizes in SIZES[family])
    report = SliceWidth(by="importance", layers="spaced").hand_over(student, teacher)
    assert set(report) == set(student.state_dict())
    assert report["projection.weight"].startswith("projection.weight [7, ")


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        (dict(hidden_size=32, num_heads=8), r"has 32 entries where the teacher's .* has 16"),
        (
            dict(hidden_size=8, num_heads=1),
            "head of the student is 8 wide and one of the teacher 4",
        ),
    ],
)
def test_what_cannot_be_cut_out_is_refused(ours, message):
    teacher = sized(GPT, SIZES[GPT][0])
    with pytest.raises(UserError, match=message):
        SliceWidth(by="order", layers="spaced").hand_over(sized(GPT, SIZES[GPT][0] | ours), teacher)
    with pytest.raises(UserError, match=r"init\.by must be importance or order"):
        SliceWidth(by="size", layers="spaced")


@pytest.mark.parametrize("family", SIZES)
def test_embeddings_are_shared_or_projected(family):
    wide, narrow = SIZES[family]
    teacher, twin, student = sized(family, wide), sized(family, wide), sized(family, narrow)
    names = [name for name in teacher.state_dict() if "embedding" in name]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert set(Embeddings().hand_over(twin, teacher)) == set(names)
    assert all(torch.equal(twin.state_dict()[n], teacher.state_dict()[n]) for n in names)
    Embeddings().hand_over(student, teacher)
    for name in names:
        rows, given = student.state_dict()[name], teacher.state_dict()[name]
        assert rows.std().item() == pytest.approx(before[name].std().item(), rel=1e-3)
        centred = given - given.mean(dim=0)
        apart = torch.pdist(rows) / torch.pdist(centred)
        width = rows.shape[1]
        assert width >= 6 or apart.std() > 0  # 7 tokens span 6 dimensions: nothing is lost in them
        if width >= 6:
            assert apart.std() / apart.mean() < 1e-3
    with pytest.raises(UserError, match="narrower, not wider"):
        Embeddings().hand_over(teacher, student)


# A structure that is a share of the teacher's.


def check_and_rehearse(cfg):
    check(cfg)
    rehearse(cfg)


@pytest.mark.parametrize("model", ["lstm_2x256", "transformer_tiny", "gpt_tiny"])
def test_half_a_teacher_starts_as_a_slice_of_it(model):
    chosen = [f"model@teacher_model={model}", "model@student_model=from_teacher"]
    cfg = compose([*chosen, "init=slice_width", "loss=[nll,hidden_mse]"])
    check_and_rehearse(cfg)
    teacher, student = (
        build_model(cfg[f"{role}_model"], vocab_size=7) for role in ("teacher", "student")
    )
    assert type(student) is type(teacher)
    assert {stack: 2 * depth for stack, depth in depths(student).items()} == depths(teacher)
    assert 2 * student.projection.in_features == teacher.projection.in_features
    assert cfg.loss.hidden_mse.student_size * 2 == cfg.teacher_model.hidden_size
    assert {name: 2 * number for name, number in student.heads.items()} == teacher.heads


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student_model.depth=0.3", r"depth of num_layers: 0\.3 of the teacher's 2 is 0\.6"),
        (
            "student_model.width=0.1",
            r"0\.1 of the teacher's 128 is 12\.8, .* another share, or 1$",
        ),
        ("student_model.depth=2.0", r"depth of num_layers must be in \(0, 1\], got 2\.0"),
        ("student_model.width=abc", r"student_model\.width must be float, got 'abc'"),
    ],
)
def test_a_share_that_is_no_structure_is_refused(override, message):
    chosen = ["model@teacher_model=transformer_tiny", "model@student_model=from_teacher"]
    with pytest.raises(UserError, match=message):
        check_and_rehearse(compose([*chosen, override]))


def test_a_teacher_that_is_a_share_of_itself_is_refused():
    with pytest.raises(UserError, match="Interpolation to parent node"):
        check(compose(["model@teacher_model=from_teacher"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": None}, "the teacher's num_layers is None, of which there is no share"),
        ({"hidden_size": None}, "the teacher's hidden_size is None, of which there is no share"),
        ({"feed_forward_size": None}, "the teacher's feed_forward_size is None, of which there"),
        ({"_target_": "nlg_distill.losses.nll"}, "is no model to take a share of"),
        ({"num_heads": 3}, r"width of num_heads: 0\.5 of the teacher's 3 is 1\.5"),
    ],
)
def test_a_teacher_without_a_structure_to_share_is_refused(changes, message):
    sizes = dict(hidden_size=16, num_layers=2, num_heads=4, feed_forward_size=24, dropout=0.0)
    teacher = {"_target_": "nlg_distill.models.GPT", **sizes}
    made = from_teacher(teacher=teacher, depth=0.5, width=0.5, hidden_size=8)
    assert made == teacher | dict(hidden_size=8, num_layers=1, num_heads=2, feed_forward_size=12)
    with pytest.raises(UserError, match=message):
        from_teacher(teacher=teacher | changes, depth=0.5, width=0.5, hidden_size=8)
    with pytest.raises(UserError, match="hidden_size=12, but this share of the teacher has 8"):
        from_teacher(teacher=teacher, depth=0.5, width=0.5, hidden_size=12)
    for lacking in ("num_layers", "_target_"):
        given = {name: value for name, value in teacher.items() if name != lacking}
        with pytest.raises(UserError, match=f"{lacking} is None|no model to take a share of"):
            from_teacher(teacher=given, depth=0.5, width=0.5, hidden_size=8)


@pytest.mark.parametrize(
    "start", [CopyLayers(layers=[0, 1]), SliceWidth(by="order", layers=[0, 1])]
)
def test_embeddings_that_are_tied_in_the_student_alone_are_refused(start):
    tied, untied = toy_model(tie_embeddings=True), toy_model(tie_embeddings=False)
    with pytest.raises(UserError, match="are one parameter of the student"):
        start.hand_over(tied, untied)
    start.hand_over(untied, tied)
    assert torch.equal(untied.projection.weight, tied.source_embedding.weight)

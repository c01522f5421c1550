"""Which parameters an optimizer is given apart, and Muon: steps that are orthogonal, and resume."""

import copy
from functools import partial

import hf_checkpoints
import pytest
import torch
from conftest import FAMILIES, STRUCTURES, toy_model, toy_structure
from torch import nn

from nlg_distill.errors import UserError
from nlg_distill.modules import MuonAdamW
from nlg_distill.modules.optimizers import parameter_groups

VOCAB = hf_checkpoints.VOCAB
(TRANSFORMER,) = (name for name in FAMILIES if "transformer" in name)
PRETRAINED = ("bart", "gpt2", "llama", "t5_untied")
TABLES = (
    "embed",
    "projection.weight",
    "lm_head",
    "shared",
    "wte",
    "wpe",
    "positions.weight",
    "relative_attention_bias",
)
muon = partial(MuonAdamW, lr=0.1, momentum=0.95, betas=(0.9, 0.98), weight_decay=0.0)


def built(name, folder):
    if name not in PRETRAINED:
        return toy_structure(name, VOCAB)
    hf_checkpoints.make_checkpoint(name, folder)
    return hf_checkpoints.opened(name, folder)


@pytest.mark.parametrize("name", [*STRUCTURES, *PRETRAINED])
def test_matrices_of_hidden_layers_are_all_but_those_of_tokens_and_positions(name, tmp_path):
    model = built(name, tmp_path)
    groups = parameter_groups(model.parameters(), model)
    assert [group["matrices"] for group in groups] == [True, False]
    inner, others = (group["params"] for group in groups)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names) == sorted(map(id, [*inner, *others]))
    assert all(parameter.ndim == 2 and VOCAB not in parameter.shape for parameter in inner)
    matrices = [names[id(parameter)] for parameter in others if parameter.ndim > 1]
    assert matrices  # embeddings
    assert all(any(part in name for part in TABLES) for name in matrices), matrices


@pytest.mark.parametrize(
    "model",
    [
        toy_model(vocab_size=24, hidden_size=6),  # four gates of 6
        toy_structure(TRANSFORMER, vocab_size=24, feed_forward_size=24),
    ],
)
def test_a_matrix_with_as_many_rows_as_there_are_tokens_may_be_of_a_hidden_layer(model):
    inner, others = (group["params"] for group in parameter_groups(model.parameters(), model))
    assert 24 in {len(parameter) for parameter in inner}
    tables = {id(p) for p in others if p.ndim == 2}
    assert id(model.projection.weight) in tables
    assert len(tables) == len({id(model.projection.weight), *map(id, embeddings(model))})


def embeddings(model):
    return [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]


def test_parameters_of_which_nothing_is_said_are_refused():
    with pytest.raises(UserError, match="which parameters are matrices of hidden layers"):
        muon([{"params": [nn.Parameter(torch.zeros(2, 2))]}])


def groups_of(*shapes):
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    split = {key: [p for p in parameters if (p.ndim == 2) == key] for key in (True, False)}
    return parameters, [{"params": found, "matrices": key} for key, found in split.items()]


def test_a_first_step_of_muon_is_orthogonal_with_a_root_mean_square_of_a_fifth_of_the_rate():
    torch.manual_seed(0)
    (matrix, vector), groups = groups_of((48, 32), (7,))
    before = [matrix.detach().clone(), vector.detach().clone()]
    optimizer = muon(groups)
    matrix.grad, vector.grad = (
        torch.randn(48, 32),
        torch.tensor([-3.0, 2.0, 1.0, 4.0, -1.0, 5.0, 9.0]),
    )
    optimizer.step()
    moved = before[0] - matrix.detach()
    stretched = torch.linalg.svdvals(moved) / (0.1 * 0.2 * 48**0.5)  # Liu et al., equation 4
    assert stretched.min() > 0.6
    assert stretched.max() < 1.3
    left, _, right = torch.linalg.svd(matrix.grad, full_matrices=False)
    cosine = torch.cosine_similarity(moved.flatten(), (left @ right).flatten(), dim=0)
    assert cosine > 0.97
    torch.testing.assert_close(before[1] - vector.detach(), 0.1 * vector.grad.sign())


def test_what_is_not_a_matrix_of_a_hidden_layer_moves_as_adamw_moves_it():
    torch.manual_seed(0)
    (_, ours), groups = groups_of((4, 4), (9,))
    theirs = nn.Parameter(ours.detach().clone())
    settings = {"lr": 0.1, "betas": (0.9, 0.98), "weight_decay": 0.3}
    optimizers = [
        MuonAdamW(groups, momentum=0.95, **settings),
        torch.optim.AdamW([theirs], **settings),
    ]
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(9)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_resumed_optimizer_goes_on_with_the_same_bits():
    torch.manual_seed(0)
    parameters, groups = groups_of((6, 4), (4, 4), (5,))
    gradients = [[torch.randn_like(p) for p in parameters] for _ in range(4)]

    def go_on(optimizer, held, steps):
        for step in steps:
            for parameter, gradient in zip(held, gradients[step], strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()

    whole = muon(groups)
    go_on(whole, parameters, [0, 1])
    state, held = copy.deepcopy(whole.state_dict()), copy.deepcopy(parameters)
    go_on(whole, parameters, [2, 3])
    split = [{"params": held[:2], "matrices": True}, {"params": held[2:], "matrices": False}]
    resumed = muon(split)
    resumed.load_state_dict(state)
    go_on(resumed, held, [2, 3])
    assert all(torch.equal(one, other) for one, other in zip(parameters, held, strict=True))


def test_the_rate_of_a_schedule_is_that_of_both():
    (matrix, vector), groups = groups_of((4, 4), (3,))
    optimizer = muon(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = matrix.detach().clone(), vector.detach().clone()
    matrix.grad, vector.grad = torch.ones(4, 4), torch.ones(3)
    optimizer.step()
    schedule.step()
    assert torch.equal(before[0], matrix)
    assert torch.equal(before[1], vector)

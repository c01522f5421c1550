"""Scores of models against numbers made by hand."""

import math

import pytest
import torch
from conftest import SPECIAL, toy_examples, toy_model

from nlg_distill.data.datamodule import fixed_batches
from nlg_distill.decoding import Hypothesis, beam_search, greedy_search
from nlg_distill.metrics import likelihood, mode_probability, num_parameters, write_texts


def test_mode_probability_is_the_mean_probability_of_the_greedy_texts():
    texts = [
        Hypothesis([3], math.log(0.5), 0.0, ended=True),
        Hypothesis([4, 5], math.log(0.1), 0.0, ended=True),
    ]
    assert mode_probability(texts) == pytest.approx(0.3)


def test_log_prob_of_a_greedy_text_is_the_model_s_own():
    model = toy_model().eval()
    batch = fixed_batches(toy_examples(4), SPECIAL, 100)[0]
    with torch.inference_mode():
        found = greedy_search(model, batch.source_ids, batch.source_mask, SPECIAL)
    best, seconds = write_texts(model, [batch], SPECIAL, beam_size=1)
    assert seconds > 0
    for number, hypotheses in zip(batch.example_ids.tolist(), found, strict=True):
        assert best[number].token_ids == hypotheses[0].token_ids
        assert best[number].log_prob == pytest.approx(hypotheses[0].log_prob, abs=1e-5)


@torch.inference_mode()
def test_texts_are_written_with_the_beam_asked_for():
    model = toy_model().eval()
    for parameter in model.parameters():
        parameter.mul_(3)
    batch = fixed_batches(toy_examples(40), SPECIAL, 1000)[0]
    sources = (batch.source_ids, batch.source_mask, SPECIAL)
    narrow, wide = (beam_search(model, *sources, beam_size=size) for size in (1, 5))
    best, _ = write_texts(model, [batch], SPECIAL, beam_size=5)
    assert [best[i] for i in batch.example_ids.tolist()] == [found[0] for found in wide]
    assert wide != narrow


def test_perplexity_and_bits_per_byte_of_a_uniform_model():
    model = toy_model(vocab_size=7)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    examples = toy_examples(9)
    tokens = sum(len(example.target_ids) + 1 for example in examples)
    batches = fixed_batches(examples, SPECIAL, 20)
    assert len(batches) > 1
    with torch.inference_mode():
        scores = likelihood(model, batches, ["äb"] * 9)  # three bytes each
    assert scores["perplexity"] == pytest.approx(7, rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(tokens * math.log2(7) / 27, rel=1e-5)


def test_tied_parameters_count_once():
    tied, untied = toy_model(tie_embeddings=True), toy_model()
    assert num_parameters(untied) - num_parameters(tied) == 2 * 7 * 6

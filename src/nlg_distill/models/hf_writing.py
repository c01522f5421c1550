"""Whether a model of transformers says token by token what it says of a whole text."""

from typing import Any

import torch

from nlg_distill.data.batch import Batch, Example, SpecialIds, collate
from nlg_distill.errors import UserError
from nlg_distill.hugging_face import first_line
from nlg_distill.models.generation_model import GenerationModel

ERRORS = (AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


def refuse_other_writing(model: GenerationModel, config: Any) -> None:
    """Reads two short texts, whose sources differ in length, whole and token by token.

    Args:
        model: in eval mode.
        config: its settings, as transformers has them.

    Raises:
        UserError: if it finds other states, or cannot go on from what it keeps.
    """
    try:
        largest, spread = _largest_difference(model, _batch(config, len(model.logit_weight)))
    except UserError:
        raise
    except ERRORS as error:
        raise UserError(
            f"{config.model_type} cannot write token by token here ({first_line(error)}): choose "
            f"another model"
        ) from error
    if largest > 1e-3 * spread:
        raise UserError(
            f"{config.model_type} says other things token by token, beside a longer source, than "
            f"of a whole text: what it would write depends on the batch. Choose another model"
        )


def _batch(config: Any, vocab_size: int) -> Batch:
    """Two examples of tokens that are not special; some models tell padding by its id."""
    names = {"pad": "pad_token_id", "begin": "decoder_start_token_id", "end": "eos_token_id"}
    ids = {part: getattr(config, name, None) for part, name in names.items()}
    known = {part: i for part, i in ids.items() if isinstance(i, int) and i < vocab_size}
    special = SpecialIds(**{"pad": 0, "begin": 1, "end": 2, **known})
    text = [i for i in range(vocab_size) if i not in (special.pad, special.begin, special.end)]
    a, b, c, d, e, f, g, h = (text * 8)[:8]
    return collate([Example(0, [a, b, c], [d]), Example(1, [e, f], [g, h])], special)


@torch.no_grad()
def _largest_difference(model: GenerationModel, batch: Batch) -> tuple[float, float]:
    """Between the states of both ways, and the standard deviation of the states."""
    batch = batch.to(model.logit_weight.device)
    whole = model(batch).hidden
    state = model.start(batch.source_ids, batch.source_mask)
    steps = []
    for time in range(batch.labels.shape[1]):
        said, state = model.step(batch.decoder_input_ids[:, time : time + 1], state)
        steps.append(said.hidden)
    apart = (whole - torch.cat(steps, dim=1)).abs()[batch.target_mask]
    return apart.max().item(), whole.std().item()

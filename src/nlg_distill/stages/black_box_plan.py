"""The stages of a black box: there is no model, and nothing is trained."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from nlg_distill.errors import UserError
from nlg_distill.store import Stage


def texts_stage(writing: Mapping[str, Any], corpus: Stage, split: str) -> Stage:
    """What it writes for the sources of a split."""
    kind: Any = get_class(writing["_target_"])
    return Stage(
        name="teacher_text",
        version=2,
        config={"writing": writing, "split": split, "content": kind.content(writing)},
        builder="nlg_distill.stages.black_box.build",
        parents={"corpus": corpus},
    )


def scores_stage(writing: Mapping[str, Any], config: Mapping[str, Any], corpus: Stage) -> Stage:
    """What its texts of the test split are worth.

    Raises:
        UserError: if it has none.
    """
    kind: Any = get_class(writing["_target_"])
    if kind.answers_training_alone:
        raise UserError(
            f"stage=teacher scores texts of the test set, and a {kind.__name__} has those of the "
            f"training sources alone: leave it out, to train a student"
        )
    return Stage(
        name="scores",
        version=1,
        config=config,
        builder="nlg_distill.stages.black_box.score",
        parents={"corpus": corpus, "teacher_text": texts_stage(writing, corpus, "test")},
    )

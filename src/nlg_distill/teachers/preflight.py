"""What can be known to go wrong before anything is fetched or trained."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

from hydra.utils import get_class

from nlg_distill.data.batch import Author
from nlg_distill.errors import UserError
from nlg_distill.teachers.signal import ACROSS_TOKENIZERS, Gives

TEXT_ALONE = "or train on the teacher's text alone with targets=teacher_beam loss=[nll]"
REMEDIES = {
    Gives.FEATURES: "set teacher=live",
    Gives.SAMPLES: "set teacher=live, or teacher=cached teacher.mode=samples",
    Gives.DISTRIBUTION: f"set teacher=live, or teacher=cached teacher.mode=top_k, {TEXT_ALONE}",
    Gives.VOCABULARY: f"set teacher=live, {TEXT_ALONE}",
    Gives.SPANS: f"set teacher=live or teacher=cached_spans, {TEXT_ALONE}",
    Gives.WRITING: "set teacher=live, or targets whose text is there before training, such as "
    "targets=teacher_beam",
}


def refuse_impossible(
    teacher: Mapping[str, Any], targets: Mapping[str, Any], loss: Mapping[str, Mapping[str, Any]]
) -> None:
    """Compares what terms and policy ask for with what the teacher source gives.

    Also refuses a student that would learn from itself alone.

    Args:
        teacher: config of the teacher source.
        targets: config of the targets policy.
        loss: configs of the terms, by name.

    Raises:
        UserError: if something asks for what this source cannot give; it says who, and the remedy.
    """
    source: Any = get_class(teacher["_target_"])
    given = source.gives(teacher)
    if "source" in teacher:
        inner: Any = get_class(teacher["source"]["_target_"])
        inner.gives(teacher["source"])  # are its settings right
        if not inner.needs_model:
            raise UserError(
                f"teacher.source must be a teacher that runs, such as live or ensemble, got "
                f"{inner.__name__}"
            )
    for name, term in loss.items():
        kind: Any = get_class(term["_target_"])
        if kind.asks and not kind.asks & given:
            _refuse(f"loss.{name}", kind.asks, source, given)
        if kind.asks and Gives.VOCABULARY not in given:
            kind.refuse_stored(f"loss.{name}", term, teacher)
            _refuse_weights_of_draws(f"loss.{name}", term, given)
    policy: Any = get_class(targets["_target_"])
    if policy.needs_live_teacher and Gives.WRITING not in given:
        _refuse(f"the policy {policy.__name__}", [Gives.WRITING], source, given)
    if policy.online and given and not source.needs_model:
        raise UserError(
            f"the policy {policy.__name__} trains on text that is written during training, about "
            f"which a {source.__name__} knows nothing: set teacher=live, or targets=gold"
        )
    _refuse_self_imitation(policy, targets, loss)


def refuse_across_tokenizers(
    targets: Mapping[str, Any], loss: Mapping[str, Mapping[str, Any]], init: Mapping[str, Any]
) -> None:
    """Refuses what reads inner states, writes or takes over, where the teacher's tokens are others.

    Args:
        targets: config of the targets policy.
        loss: configs of the terms, by name.
        init: config of the student's start.

    Raises:
        UserError: if something needs the student's tokens from a teacher with a tokenizer of its
            own; it says who, and the remedy.
    """
    kinds: dict[str, Any] = {name: get_class(term["_target_"]) for name, term in loss.items()}
    policy: Any = get_class(targets["_target_"])
    start: Any = get_class(init["_target_"])
    needs = [
        f"loss.{name}"
        for name, kind in kinds.items()
        if kind.asks and not kind.asks & ACROSS_TOKENIZERS
    ]
    if policy.online:
        needs.append(f"the policy {policy.__name__}")
    if start.needs_teacher:
        needs.append(f"the start {start.__name__}")
    if needs:
        raise UserError(
            f"{needs[0]} needs a teacher with the student's tokens, and this one has a tokenizer "
            f"of its own (teacher_tokenizer): give both one with tokenizer@teacher_tokenizer="
            f"shared, compare distributions on text that is there before training, as "
            f"loss=[nll,forward_kl] does, {TEXT_ALONE}"
        )


def _refuse_weights_of_draws(name: str, term: Mapping[str, Any], given: Set[Gives]) -> None:
    weights: Any = term.get("token_weights") and get_class(term["token_weights"]["_target_"])
    if weights and weights.needs_distribution and Gives.DISTRIBUTION not in given:
        raise UserError(
            f"{name}.token_weights: {weights.__name__} reads the teacher's distribution, of which "
            f"draws alone are stored: leave it out, or set teacher=live"
        )


def _refuse_self_imitation(
    policy: Any, targets: Mapping[str, Any], loss: Mapping[str, Mapping[str, Any]]
) -> None:
    """A text that the student alone wrote teaches it nothing but what it does already."""
    if not policy.student_writes_alone(targets):
        return
    reads = (
        get_class(term["_target_"]).asks  # type: ignore[attr-defined]
        and term.get("written_by") in (None, Author.STUDENT.name.lower())
        for term in loss.values()
    )
    if not any(reads):
        raise UserError(
            f"the policy {policy.__name__} trains on text that the student itself writes, and no "
            f"term of loss=[{','.join(loss)}] asks a teacher about it: the student would learn "
            f"from itself. Take a term that does, such as loss=[forward_kl], without written_by or "
            f"with written_by=student; or text of others, such as targets=teacher_beam"
        )


def _refuse(who: str, asked: Iterable[Gives], source: Any, given: Set[Gives]) -> None:
    """`asked` has what was asked for, any one of which would have been enough."""
    what = next(thing for thing in REMEDIES if thing in asked)
    remedies = REMEDIES[what]
    if what is Gives.VOCABULARY and Gives.DISTRIBUTION in given:
        remedies += ", or take a loss that merges the rest, such as loss=[nll,forward_kl]"
    raise UserError(
        f"{who} asks for {what.value}, which a {source.__name__} does not give: {remedies}"
    )

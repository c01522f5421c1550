"""What can be known to go wrong before anything is fetched or trained."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from nlg_distill.data.batch import Author
from nlg_distill.errors import UserError
from nlg_distill.losses import SampledTerm, TopKTerm, VocabularyTerm
from nlg_distill.teachers.source import Gives

REMEDIES = {
    Gives.FEATURES: "set teacher=live",
    Gives.SAMPLES: "set teacher=live, or teacher=cached teacher.mode=samples",
    Gives.DISTRIBUTION: "set teacher=live, or teacher=cached teacher.mode=top_k, or train on the "
    "teacher's text alone with targets=teacher_beam loss=[nll]",
    Gives.VOCABULARY: "set teacher=live, or take a loss that merges the rest of the vocabulary, "
    "such as loss=[nll,forward_kl]",
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
        if kind.needs_teacher or kind.needs_live_teacher:
            _check_term(f"loss.{name}", kind, term, teacher, given)
    policy: Any = get_class(targets["_target_"])
    if policy.needs_live_teacher and Gives.WRITING not in given:
        _refuse(f"the policy {policy.__name__}", Gives.WRITING, source)
    if policy.online and given and not source.needs_model:
        raise UserError(
            f"the policy {policy.__name__} trains on text that is written during training, about "
            f"which a {source.__name__} knows nothing: set teacher=live, or targets=gold"
        )
    _refuse_self_imitation(policy, targets, loss)


def _refuse_self_imitation(
    policy: Any, targets: Mapping[str, Any], loss: Mapping[str, Mapping[str, Any]]
) -> None:
    """A text that the student alone wrote teaches it nothing but what it does already."""
    writes = Author.STUDENT in policy.beside | {policy.author}
    helped = policy.needs_live_teacher and targets.get("alpha") != 0
    if not policy.online or helped or not writes:
        return
    reads = (
        get_class(term["_target_"]).needs_teacher  # type: ignore[attr-defined]
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


def _check_term(
    name: str, kind: Any, term: Mapping[str, Any], teacher: Mapping[str, Any], given: Any
) -> None:
    source: Any = get_class(teacher["_target_"])
    enough = _enough(kind)
    if not enough & given:
        _refuse(name, next(what for what in REMEDIES if what in enough), source)
    if Gives.VOCABULARY in given:
        return
    own: Mapping[str, Any] = term.get("loss") or {}
    changes = {
        f"{name}.temperature": term.get("temperature"),
        f"{name}.transform": term.get("transform"),
        f"{name}.loss.temperature": None if own.get("temperature", 1) == 1 else own["temperature"],
    }
    for setting, value in changes.items():
        if value is not None:
            raise UserError(
                f"{setting}={value}: a {source.__name__} stores single tokens at temperature 1, "
                f"and nothing else can be made of them: set {setting} to its neutral value, or "
                f"teacher=live"
            )
    if Gives.SAMPLES in given:
        _check_draws(name, kind, term, teacher)
    if issubclass(kind, TopKTerm) and term["k"] > teacher["k"]:
        raise UserError(
            f"{name}.k={term['k']} tokens are asked for, but the teacher stores "
            f"teacher.k={teacher['k']}: raise teacher.k"
        )


def _check_draws(name: str, kind: Any, term: Mapping[str, Any], teacher: Mapping[str, Any]) -> None:
    weights: Mapping[str, Any] = term.get("token_weights") or {}
    asking: Any = get_class(weights["_target_"]) if weights else None
    if asking is not None and asking.needs_distribution:
        raise UserError(
            f"{name}.token_weights: {asking.__name__} reads the teacher's distribution, of which "
            f"draws alone are stored: leave it out, or set teacher=live"
        )
    if issubclass(kind, SampledTerm) and term["num_samples"] != teacher["k"]:
        raise UserError(
            f"{name}.num_samples={term['num_samples']}, but the teacher stores "
            f"teacher.k={teacher['k']} draws of each position: give both the same number"
        )


def _enough(kind: Any) -> frozenset[Gives]:
    """What a term can work with; any one of these is enough."""
    if kind.needs_live_teacher:
        return frozenset({Gives.FEATURES})
    stored = {Gives.SAMPLES} if kind.reads_samples else set()
    if issubclass(kind, VocabularyTerm):
        return frozenset({Gives.VOCABULARY} | stored)
    return frozenset({Gives.VOCABULARY, Gives.DISTRIBUTION} | stored)


def _refuse(who: str, what: Gives, source: Any) -> None:
    raise UserError(
        f"{who} asks for {what.value}, which a {source.__name__} does not give: {REMEDIES[what]}"
    )

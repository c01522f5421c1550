"""Teacher sources out of artifacts."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate

from nlg_distill.data.batch import Example
from nlg_distill.data.corpus import Pair
from nlg_distill.data.spans import align
from nlg_distill.data.tokenizer import Tokenizer
from nlg_distill.models import GenerationModel
from nlg_distill.modules import TeacherModule
from nlg_distill.stages.models import load_model
from nlg_distill.stages.tokenizer import encode_pairs, load_tokenizer
from nlg_distill.store import console
from nlg_distill.teachers.aligned import AlignedTeacher, aligned_share
from nlg_distill.teachers.piece_mapping import PieceMapping
from nlg_distill.teachers.source import TeacherSource
from nlg_distill.teachers.vocabulary import CutModel, compare_vocabularies, output_size

LIVE = {"_target_": "nlg_distill.teachers.live.LiveTeacher", "_partial_": True}


def teacher_role(number: int) -> str:
    """The role of the `number`-th teacher among a stage's parents, from 0."""
    return "teacher" if number == 0 else f"teacher_{number + 1}"


def open_models(
    source: Mapping[str, Any],
    parents: Mapping[str, Path],
    tokenizer: Tokenizer,
    *,
    say: Callable[[str], None] | None = None,
) -> TeacherSource:
    """A source that runs the teachers among `parents`.

    `say` is told in a sentence what is done about the vocabularies.

    Raises:
        UserError: if a teacher's vocabulary is not the student's.
    """
    roles = itertools.takewhile(parents.__contains__, map(teacher_role, itertools.count()))
    models = [_fitted(parents[role], tokenizer, say) for role in roles]
    modules = [TeacherModule(model, tokenizer.special) for model in models]
    opened: TeacherSource = instantiate(source, _convert_="all")(*modules)
    return opened


def _fitted(
    artifact: Path, tokenizer: Tokenizer, say: Callable[[str], None] | None
) -> GenerationModel:
    model = load_model(artifact)
    found = compare_vocabularies(
        tokenizer.pieces,
        load_tokenizer(artifact).pieces,
        student_size=tokenizer.vocab_size,
        teacher_size=output_size(model, tokenizer.special),
    )
    if say is not None:
        say(found.sentence)
    found.refuse_unless_comparable()
    return model if found.cut is None else CutModel(model, found.cut)


def open_for_text(
    source: Mapping[str, Any],
    parents: Mapping[str, Path],
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
    *,
    say: Callable[[str], None] | None = None,
) -> TeacherSource:
    """A source that runs the teachers among `parents` on the student's texts, `pairs`.

    Teachers with a tokenizer of their own read the texts in their own tokens. `say` is told what is
    done about the vocabularies.
    """
    own = load_tokenizer(parents[teacher_role(0)])
    if _read_alike(own, tokenizer, pairs):
        return open_models(source, parents, tokenizer, say=say)
    aligned = aligned_teacher(open_models(source, parents, own), own, tokenizer, pairs)
    if say is not None:
        found = compare_vocabularies(
            tokenizer.pieces,
            own.pieces,
            student_size=tokenizer.vocab_size,
            teacher_size=own.vocab_size,
        )
        say(
            f"{found.sentence}; texts are compared where both tokenizers cut them, at "
            f"{aligned_share(aligned.alignments):.0%} of the student's target tokens"
        )
    return aligned


def aligned_teacher(
    source: TeacherSource, own: Tokenizer, tokenizer: Tokenizer, pairs: Sequence[Pair]
) -> AlignedTeacher:
    """The source of a teacher with its `own` tokenizer, for a student's texts."""
    texts = [pair.target for pair in pairs]
    ours, theirs = encode_pairs(pairs, tokenizer), encode_pairs(pairs, own)
    places = zip(tokenizer.target_places(texts), own.target_places(texts), strict=True)
    unknown = zip(_unknown(tokenizer, ours), _unknown(own, theirs), strict=True)
    alignments = [align(*sides, numbers) for sides, numbers in zip(places, unknown, strict=True)]
    mapping = PieceMapping.of(
        ours,
        theirs,
        alignments,
        ends=(tokenizer.special.end, own.special.end),
        sizes=(tokenizer.vocab_size, own.vocab_size),
    )
    return AlignedTeacher(source, own.special, theirs, alignments, mapping)


def _unknown(tokenizer: Tokenizer, examples: Sequence[Example]) -> list[frozenset[int]]:
    """The numbers of the unknown tokens in each target."""
    return [
        frozenset(i for i, id_ in enumerate(example.target_ids) if id_ == tokenizer.unknown_id)
        for example in examples
    ]


def _read_alike(own: Tokenizer, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> bool:
    """Whether both give the same ids: pieces, special tokens and what is put around a text."""
    return (
        own.pieces == tokenizer.pieces
        and own.special == tokenizer.special
        and encode_pairs(pairs[:1], own) == encode_pairs(pairs[:1], tokenizer)
    )


def open_source(
    config: Mapping[str, Any],
    parents: Mapping[str, Path],
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
) -> TeacherSource | None:
    """The source of a student's training on `pairs`, if its objective or policy asks for one."""
    if "teacher" not in config:
        return None
    kind: Any = get_class(config["teacher"]["_target_"])
    if kind.needs_model:
        return open_for_text(config["teacher"], parents, pairs, tokenizer, say=console.print)
    stored: TeacherSource = instantiate(config["teacher"], _convert_="all")(
        parents["teacher_signal"], encode_pairs(pairs, tokenizer), config["teacher_signal"]
    )
    return stored

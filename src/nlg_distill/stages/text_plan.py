"""The stages of text that one config needs: corpus, tokenizers, further test sets."""

from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from nlg_distill.data.corpus import OfFiles
from nlg_distill.data.tokenizer import Shared
from nlg_distill.errors import UserError
from nlg_distill.store import Stage


def corpus_stage(cfg: DictConfig) -> Stage:
    """The corpus, whose key follows what local files hold."""
    config = as_dict(cfg.data, "corpus", "cleaning", "splitting")
    of_files = issubclass(class_of(cfg.data.corpus), OfFiles)
    return Stage(
        name="corpus",
        version=2,
        config=with_content(config, "corpus") if of_files else config,
        builder="nlg_distill.stages.corpus.build",
    )


def tokenizer_stage(settings: dict[str, Any], corpus: Stage) -> Stage:
    """A tokenizer of these settings."""
    return Stage(
        name="tokenizer",
        version=1,
        config=with_content({"tokenizer": settings}, "tokenizer"),
        builder="nlg_distill.stages.tokenizer.build",
        parents={"corpus": corpus},
    )


def for_teacher(cfg: DictConfig, text: dict[str, Stage]) -> dict[str, Stage]:
    """What a teacher reads: the student's text, with a tokenizer of its own if it has one."""
    if class_of(cfg.teacher_tokenizer) is Shared:
        return text
    return {**text, "tokenizer": tokenizer_stage(as_dict(cfg)["teacher_tokenizer"], text["corpus"])}


def further_tests_stage(cfg: DictConfig, corpus: Stage) -> dict[str, Stage]:
    """The stage of the further test sets, by its role; nothing where there are none.

    No model depends on it: one that is trained is scored on a new test set as it is.
    """
    if not cfg.data.get("further_tests"):
        return {}
    tests = cfg.data.further_tests
    if wrong := [name for name in tests if not str(name).isidentifier()]:
        raise UserError(
            f"data.further_tests.{wrong[0]}: a test set's name is of letters, digits and _"
        )
    kinds = {name: class_of(tests[name]) for name in tests}
    settings = as_dict(tests)
    files = {n: k.content(settings[n]) for n, k in kinds.items() if issubclass(k, OfFiles)}
    content = {name: held for name, held in files.items() if held}
    stage = Stage(
        name="further_tests",
        version=1,
        config={
            **as_dict(cfg.data, "further_tests", "cleaning"),
            **({"content": content} if content else {}),
        },
        builder="nlg_distill.stages.further_tests.build",
        parents={"corpus": corpus},
    )
    return {"further_tests": stage}


def class_of(node: DictConfig) -> Any:
    """The class that a node names, whose attributes say what it needs."""
    return get_class(node._target_)


def with_content(config: dict[str, Any], part: str) -> dict[str, Any]:
    """A stage's config with what identifies the files that one part of it names, if any."""
    kind: Any = get_class(config[part]["_target_"])
    content = kind.content(config[part])
    return {**config, "content": content} if content else config


def as_dict(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """A config as plain data, or these parts of it."""
    found: Any = OmegaConf.to_container(cfg, resolve=True)
    return {key: found[key] for key in keys if key in found} if keys else found

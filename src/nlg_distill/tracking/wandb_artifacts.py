"""Artifacts of the store as those of Weights & Biases, and what a run was made from."""

from pathlib import Path
from typing import Any

from nlg_distill.curves import FILENAME
from nlg_distill.models.generation_model import WEIGHTS
from nlg_distill.store import metadata

SMALL = 1_000_000  # bytes; a larger file is only pointed to
LEFT_OUT = ("checksums", "code")  # of the metadata: long, and in metadata.json


def artifact_of(path: Path, upload_models: bool) -> Any:
    """A finished artifact as W&B knows it: `<stage>-<key>`, of the stage's type.

    Configs, metadata, numbers and curves are uploaded; of texts, tokenizers and weights only is
    said where they lie. Their content is known by its checksums in `metadata.json`.

    Args:
        path: the artifact's folder in the store.
        upload_models: whether everything in the folder of a model is uploaded.
    """
    import wandb

    facts = metadata(path)
    artifact = wandb.Artifact(
        f"{facts['stage']}-{facts['key']}",
        facts["stage"],
        metadata={name: value for name, value in facts.items() if name not in LEFT_OUT},
    )
    whole = upload_models and (path / WEIGHTS).is_file()
    for file in sorted(file for file in path.absolute().rglob("*") if file.is_file()):
        name = str(file.relative_to(path.absolute()))
        if whole or _tells_facts(file):
            # The store never changes a file, so it needs no copy until it is uploaded.
            artifact.add_file(str(file), name, policy="immutable", skip_cache=True)
        else:
            artifact.add_reference(file.as_uri(), name, checksum=False)
    return artifact


def use(run: Any, artifact: Any) -> None:
    """Makes an artifact an input of a run, online or offline.

    `run.use_artifact` refuses to offline, because the artifact's version is not known then. It
    begins with this call, and the rest is done by whoever sends the run: the artifact is made, or
    found by its content, and the run is noted as a user of it and not as its maker.
    """
    if run.disabled:  # by WANDB_MODE=disabled, of which the call knows nothing
        return
    run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)


def _tells_facts(file: Path) -> bool:
    wanted = file.suffix in (".json", ".yaml") or file.name == FILENAME
    return wanted and file.stat().st_size <= SMALL

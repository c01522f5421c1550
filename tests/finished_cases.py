"""Folders of runs made by hand, as `run.py` and the store leave them."""

import copy
import json

import yaml

CONFIG = {
    "stage": "student",
    "seed": 1,
    "teacher_seed": 1,
    "name": "run",
    "task": {"_target_": "nlg_distill.tasks.Task"},
    "data": {"corpus": {"path": "numbers.tsv"}},
    "student_training": {"max_steps": 400, "optimizer": {"lr": 0.001}},
    "teacher_training": {"max_steps": 400, "optimizer": {"lr": 0.001}},
    "loss": {"nll": {"weight": 1.0}},
    "scoring": {"beam_sizes": [1, 5]},
    "trainer": {"precision": "32-true", "devices": 1, "accelerator": "cpu", "max_time": None},
    "logger": {"_target_": "none"},
    "paths": {"artifacts": "artifacts"},
}
TEXTS = [{"source": "eins", "gold": "one"}, {"source": "zwei", "gold": "two"}]


def leave_run(
    folder,
    name="run",
    seed=1,
    bleu=20.0,
    *,
    overrides=(),
    settings=None,
    result=None,
    texts=TEXTS,
    scores=None,
):
    """Makes the folder of a finished run.

    BLEU at K=1 is one less than `bleu`, at K=5. `settings` are of the config, by dotted keys;
    `result` has what else is in `result.json`, by paths with slashes, None where it is not there.
    """
    config = copy.deepcopy(CONFIG)
    for key, value in {"name": name, "seed": seed, **(settings or {})}.items():
        put(config, key.split("."), value)
    beam = {"chrf": 30.0, "bleu_signature": "tok:13a", "length_ratio": 1.0}
    found = {
        "beam_1": {"bleu": bleu - 1, "source_words_per_second": 500.0, **beam},
        "beam_5": {"bleu": bleu, "source_words_per_second": 100.0, **beam},
        "perplexity": 12.0,
        "mode_probability": 0.02,
        "parameters": 466848,
        "training_seconds": 90.0,
        "total_training_seconds": 90.0,
        "megabytes": 1.9,
        "decoding": {
            "threads": 1,
            "batch_tokens": 2000,
            "precision": "32-true",
            "device": "cpu",
            "sentences": len(texts),
        },
        "artifacts": {
            "corpus": "corpus/c0",
            "tokenizer": "tokenizer/t0",
            "model": f"student/{name}{seed}",
        },
        "name": name,
        "overrides": list(overrides),
        "stage": config["stage"],
        "seed": seed,
        "artifacts_root": str(folder.parent / "artifacts"),
        "scores": scores or f"scores/{folder.name}",
        "machine": "x86_64, 2 cores, Linux",
    }
    for path, value in (result or {}).items():
        put(found, path.split("/"), value)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(found))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    (folder / "samples.jsonl").write_text(lines)


def put(tree, path, value):
    """Sets a value in nested mappings, or takes it out if it is None."""
    *parents, last = path
    for key in parents:
        tree = tree.setdefault(key, {})
    if value is None:
        del tree[last]
    else:
        tree[last] = value


def leave_artifact(root, name, seconds, parents=(), training_seconds=None):
    """Makes an artifact of which nothing is there but what is known of it."""
    folder = root / name
    folder.mkdir(parents=True)
    roles = {f"parent_{i}": parent for i, parent in enumerate(parents)}
    (folder / "metadata.json").write_text(json.dumps({"seconds": seconds, "parents": roles}))
    if training_seconds is not None:
        facts = {"training_seconds": training_seconds}
        (folder / "training.json").write_text(json.dumps(facts))

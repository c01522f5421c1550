"""Finished runs as `run.py` and the stages leave them, with numbers that a test chooses."""

import json
import random

import yaml

SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
HYGIENE = {
    "cleaning": {"raw": 1000, "exact duplicates": 7},
    **{
        split: {
            "pairs": pairs,
            "source": {"mean_words": 8.5, "longest_words": 40},
            "target": {"mean_words": 9.25, "longest_words": 41},
            **({"near_duplicates_in_train": dict(source=1, target=2, pair=0)} if held_out else {}),
        }
        for split, pairs, held_out in (
            ("train", 900, False),
            ("validation", 40, True),
            ("test", 3, True),
        )
    },
}
TEXTS = [  # source, gold, teacher
    ("Guten Morgen, Tom.", "Good morning, Tom.", "Good morning, Tom."),
    ("Wo liegt der Bahnhof?", "Where is the station?", "Where's the train station?"),
    ("Ich habe keine Zeit.", "I have no time.", "I don't have time."),
]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def leave_artifact(store, name, parents, seconds=1.0, **files):
    """One of the store, with its metadata and other JSON files."""
    facts = {"parents": parents, "seconds": seconds, "made": "2026-11-25T10:00:00+00:00"}
    for file, value in {"metadata": facts, **files}.items():
        write(store / name / f"{file}.json", value)


def leave_curves(model, curves):
    """One line for whatever was logged at a step, as the logger of curves writes it."""
    lines = {}
    for name, points in curves.items():
        for step, value in points:
            lines.setdefault(step, {"step": step})[name] = value
    text = "".join(json.dumps(line) + "\n" for line in lines.values())
    (model / "curves.jsonl").write_text(text, encoding="utf-8")


def scores(bleu, speed):
    signatures = {"bleu_signature": SIGNATURE}
    return {"bleu": bleu, "length_ratio": 0.9, "source_words_per_second": speed, **signatures}


def leave_run(
    home,
    folder,
    *,
    name="word_kd",
    seed=1,
    bleu=20.0,
    speed=1000.0,
    parameters=1000,
    overrides=(),
    loss=("nll", "forward_kl"),
    written=("Good morning Tom.", "Where is the station?", "I have none."),
    texts=TEXTS,
    curves=None,
    steps=100,
    config=None,
    corpus="c0",
):
    """A run in `home/runs/<folder>` with its artifacts in `home/artifacts`; its folder.

    A run named `teacher` is a teacher's own, of which others are students.
    """
    store, teaches = home / "artifacts", name == "teacher"
    leave_artifact(store, f"corpus/{corpus}", {}, 2.0, hygiene=HYGIENE)
    leave_artifact(store, "tokenizer/k0", {"corpus": f"corpus/{corpus}"}, 3.0)
    text = {"corpus": f"corpus/{corpus}", "tokenizer": "tokenizer/k0"}
    teacher = {"teacher": "teacher/t0"}
    leave_artifact(store, "teacher/t0", text, 9.0, training={"training_seconds": 50.0})
    model = "teacher/t0" if teaches else f"student/{folder}"
    if not teaches:
        training = {"training_seconds": 10.0 + seed}
        leave_artifact(store, model, {**text, **teacher}, 9.0, training=training)
    leave_curves(store / model, curves or {})
    parents = {**text, "model": model, **({} if teaches else teacher)}
    leave_artifact(store, f"scores/{folder}", parents, 4.0)
    result = {
        "beam_1": scores(bleu - 1, 2 * speed),
        "mode_probability": 0.01,
        "beam_5": scores(bleu, speed),
        "perplexity": 30.0 - bleu / 2,
        "parameters": parameters,
        "steps": steps,
        "training_seconds": 10.0 + seed,
        "total_training_seconds": 10.0 + seed,
        "megabytes": parameters * 4e-6,
        "decoding": dict(
            threads=1, batch_tokens=2000, precision="32", device="cpu", sentences=len(texts)
        ),
        "artifacts": parents,
        "name": name,
        "overrides": [f"experiment={name}", *overrides, f"seed={seed}"],
        "stage": "teacher" if teaches else "student",
        "seed": seed,
        "artifacts_root": str(store),
        "scores": f"scores/{folder}",
        "packages": {"nlg-distill": "0.1.0", "torch": "2.13.0", "lightning": "2.6.6"},
        "python": "3.11.7",
        "git_commit": "0123456789abcdef",
        "machine": "x86_64, 2 cores, Linux",
    }
    settings = {
        "data": {
            "corpus": {"_target_": "nlg_distill.data.hsk.HSK"},
            "licence": "MIT",
            "attribution": "A. Writer",
        },
        "student_training": {"max_steps": steps},
        "loss": {term: {"weight": 1.0} for term in loss},
        "teacher_loss": {"nll": {"weight": 1.0}},
        "paths": {"runs": str(home)},
        "seed": seed,
        "teacher_seed": 1,
        "name": name,
        "trainer": {"_target_": "lightning.Trainer", "precision": "32"},
        **(config or {}),
    }
    run = home / "runs" / folder
    write(run / "result.json", result)
    (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    with (run / "samples.jsonl").open("w", encoding="utf-8") as file:
        for (source, gold, teachers), text in zip(texts, written, strict=True):
            by = {"teacher": teachers, "student": teachers if teaches else text}
            file.write(json.dumps({"source": source, "gold": gold, **by}) + "\n")
    return run


def falling(names, points, seed):
    """Curves of so many points that fall towards 1, with noise."""
    noise = random.Random(seed)
    return {
        name: [(50 * i + 49, 1 + 8 / (1 + i / 10) + noise.gauss(0, 0.1)) for i in range(points)]
        for name in names
    }


def leave_sweep(home):
    """A teacher, and two losses with two seeds each."""
    leave_run(home, "teacher", name="teacher", bleu=30.0, overrides=["data=hsk"])
    kl = ["loss=[nll,forward_kl]", "loss.forward_kl.weight=0.5"]
    for seed, bleu in ((1, 20.0), (2, 23.0)):
        leave_run(home, f"kl_{seed}", seed=seed, bleu=bleu, overrides=["data=hsk", *kl])
        leave_run(
            home,
            f"nll_{seed}",
            name="baseline",
            seed=seed,
            bleu=18.0,
            overrides=["data=hsk"],
            loss=["nll"],
        )
    return home

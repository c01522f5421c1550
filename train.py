"""Trains one teacher or student and whatever it needs first.

python train.py experiment=seq_kd            one run
python train.py -m loss=[nll],[nll,forward_kl] seed=1,2,3     a sweep; stages in common run once
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

import nlg_distill.config  # noqa: F401  how fast --help is


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> float | None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from nlg_distill.errors import explained
    from nlg_distill.run import run, validation_score
    from nlg_distill.sweeps.watch import kept_apart

    hydra_cfg = HydraConfig.get()
    is_sweep = hydra_cfg.mode == RunMode.MULTIRUN
    sweep = f"sweep {Path(hydra_cfg.sweep.dir).name}" if is_sweep else None  # by its time
    with explained(), kept_apart(hydra_cfg):  # before Hydra says it in its way
        overrides, folder = hydra_cfg.overrides.task, hydra_cfg.runtime.output_dir
        return validation_score(run(cfg, overrides, folder, sweep))
    return None  # a job of a sweep that failed


if __name__ == "__main__":
    from nlg_distill.errors import explained
    from nlg_distill.sweeps.watch import reported

    try:
        with explained(), reported():
            main()
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on with what is missing.", file=sys.stderr)
        sys.exit(130)

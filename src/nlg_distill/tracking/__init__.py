"""What Weights & Biases is told: runs, artifacts and their lineage, tables, a report."""

from nlg_distill.tracking.wandb_run import TolerantWandb

__all__ = ["TolerantWandb"]

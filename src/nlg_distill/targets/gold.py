"""The corpus's own targets."""

from nlg_distill.targets.policy import TargetsPolicy


class Gold(TargetsPolicy):
    """What people wrote."""

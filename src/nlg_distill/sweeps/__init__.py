"""Sweeps: Hydra's, Optuna's and those of Weights & Biases."""

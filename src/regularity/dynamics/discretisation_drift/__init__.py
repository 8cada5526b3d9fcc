"""Discretisation drift: what the length of a gradient step does to training, and what smoothness has to do with it.

Mihaela Rosca, "On discretisation drift and smoothness regularisation in neural network training", 2023,
arXiv 2310.14036.
"""

from regularity.dynamics.discretisation_drift.method import (
    SCALINGS,
    Scaling,
    curvature_drift,
    drift_adjusted_rate,
    frozen_flow,
    game_drift,
    modified_flow,
    play_round,
    power_iteration,
    principal_coefficient,
    principal_flow,
)
from regularity.dynamics.discretisation_drift.problems import (
    banana,
    digits,
    dirac_gan,
    draw_points,
    network_loss,
    perceptron,
    polynomial_game,
    spiral,
    tumours,
)

__all__ = [
    "SCALINGS",
    "Scaling",
    "banana",
    "curvature_drift",
    "digits",
    "dirac_gan",
    "draw_points",
    "drift_adjusted_rate",
    "frozen_flow",
    "game_drift",
    "modified_flow",
    "network_loss",
    "perceptron",
    "play_round",
    "polynomial_game",
    "power_iteration",
    "principal_coefficient",
    "principal_flow",
    "spiral",
    "tumours",
]

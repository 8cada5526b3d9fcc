"""Neural collapse, nearly: free features that must stay near given ones, and what each weight decay does to them.

Tom Tirer, Haoxiang Huang and Jonathan Niles-Weed, "Perturbation Analysis of Neural Collapse", 2022, arXiv 2210.16658.
"""

from regularity.theory.neural_collapse.method import (
    Collapse,
    FeatureModel,
    Minimiser,
    Rates,
    block_spectrum,
    central_path,
    collapse_rates,
    collapsed_minimiser,
    first_order,
    minimise,
    near_collapse_response,
    neural_collapse_metrics,
    objective,
    one_hot_targets,
    perturbation_operator,
)
from regularity.theory.neural_collapse.problems import Networks, draw_networks, features_of, train_networks
from regularity.theory.neural_collapse.rivals import minimise_by_lbfgs

__all__ = [
    "Collapse",
    "FeatureModel",
    "Minimiser",
    "Networks",
    "Rates",
    "block_spectrum",
    "central_path",
    "collapse_rates",
    "collapsed_minimiser",
    "draw_networks",
    "features_of",
    "first_order",
    "minimise",
    "minimise_by_lbfgs",
    "near_collapse_response",
    "neural_collapse_metrics",
    "objective",
    "one_hot_targets",
    "perturbation_operator",
    "train_networks",
]

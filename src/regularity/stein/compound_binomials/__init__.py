"""Compound binomials: choose how far to shrink many small samples by an estimate of the risk that needs no truth.

Yan Chen and Lihua Lei, "Compound Estimation for Binomials", 2025, arXiv 2512.25042.
"""

from regularity.stein.compound_binomials.method import (
    Measurements,
    Shrinkage,
    best_loss,
    choose_by_sure,
    differences,
    loss_curve,
    proportions,
    pulls,
    risk_interval,
    shrink,
    shrink_monotonically,
    strength_grid,
    sure_curve,
)
from regularity.stein.compound_binomials.problems import (
    draw_counts,
    made_up_population,
    mean_of_values,
    pooled_mean,
    pupils_drawn,
    random_forest,
    ridge_regression,
    school_districts,
    visit_rates,
)
from regularity.stein.compound_binomials.rivals import (
    arcsine,
    choose_by_likelihood,
    npmle,
    shrink_on_arcsine_scale,
)

__all__ = [
    "Measurements",
    "Shrinkage",
    "arcsine",
    "best_loss",
    "choose_by_likelihood",
    "choose_by_sure",
    "differences",
    "draw_counts",
    "loss_curve",
    "made_up_population",
    "mean_of_values",
    "npmle",
    "pooled_mean",
    "proportions",
    "pulls",
    "pupils_drawn",
    "random_forest",
    "ridge_regression",
    "risk_interval",
    "school_districts",
    "shrink",
    "shrink_monotonically",
    "shrink_on_arcsine_scale",
    "strength_grid",
    "sure_curve",
    "visit_rates",
]

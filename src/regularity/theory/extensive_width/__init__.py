"""Extensive width: learn a network as wide as its input from quadratically many samples, as well as anything can.

Antoine Maillard, Emanuele Troiani, Simon Martin, Florent Krzakala and Lenka Zdeborová, "Bayes-optimal learning of an
extensive-width neural network from quadratically many samples", NeurIPS 2024, arXiv 2408.03733.
"""

from regularity.theory.extensive_width.method import (
    GampFit,
    bayes_optimal_error,
    gamp_rie,
    learning_curve,
    matrix_error,
    network_gradient,
    network_labels,
    network_matrix,
    quadratic_adjoint,
    quadratic_forms,
    recovery_threshold,
    state_evolution,
    train_networks,
)
from regularity.theory.extensive_width.problems import Samples, draw_samples, label, label_variance
from regularity.theory.extensive_width.rivals import (
    kernel_error,
    regress_on_inputs,
    regress_on_products,
    sample_posterior,
)

__all__ = [
    "GampFit",
    "Samples",
    "bayes_optimal_error",
    "draw_samples",
    "gamp_rie",
    "kernel_error",
    "label",
    "label_variance",
    "learning_curve",
    "matrix_error",
    "network_gradient",
    "network_labels",
    "network_matrix",
    "quadratic_adjoint",
    "quadratic_forms",
    "recovery_threshold",
    "regress_on_inputs",
    "regress_on_products",
    "sample_posterior",
    "state_evolution",
    "train_networks",
]

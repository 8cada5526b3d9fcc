"""Dynamical stability: the minima at which stochastic gradient descent can stay are flat in all directions at once.

Lei Wu and Weijie J. Su, "The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent", 2023,
arXiv 2305.17490.
"""

from regularity.dynamics.dynamical_stability.method import (
    Descent,
    Sharpness,
    alignment,
    critical_learning_rate,
    descend,
    gram_matrix,
    growth_rate,
    second_moment_step,
    sharpness,
)
from regularity.dynamics.dynamical_stability.problems import (
    DiagonalNetwork,
    ReluNetwork,
    Sample,
    sparse_regression,
    teacher_directions,
    teacher_regression,
)

__all__ = [
    "Descent",
    "DiagonalNetwork",
    "ReluNetwork",
    "Sample",
    "Sharpness",
    "alignment",
    "critical_learning_rate",
    "descend",
    "gram_matrix",
    "growth_rate",
    "second_moment_step",
    "sharpness",
    "sparse_regression",
    "teacher_directions",
    "teacher_regression",
]

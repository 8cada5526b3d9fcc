"""Hierarchical polynomials: three layers, trained one after the other, find a feature before they use it.

Zihao Wang, Eshaan Nichani and Jason D. Lee, "Learning Hierarchical Polynomials with Three-Layer Neural Networks",
ICLR 2024, arXiv 2311.13774.
"""

from regularity.theory.hierarchical_polynomials.method import (
    ThreeLayerNetwork,
    descend,
    inner_features,
    ridge,
    train_layerwise,
)
from regularity.theory.hierarchical_polynomials.problems import HierarchicalPolynomial, best_quadratic
from regularity.theory.hierarchical_polynomials.rivals import (
    fit_kernel_ridge,
    one_step_feature,
    polynomial_kernel,
    train_relu_network,
)

__all__ = [
    "HierarchicalPolynomial",
    "ThreeLayerNetwork",
    "best_quadratic",
    "descend",
    "fit_kernel_ridge",
    "inner_features",
    "one_step_feature",
    "polynomial_kernel",
    "ridge",
    "train_layerwise",
    "train_relu_network",
]

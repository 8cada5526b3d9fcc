"""Neural tangent kernel: a wide network in training is kernel regression in time.

Arthur Jacot, Franck Gabriel and Clément Hongler, "Neural Tangent Kernel: Convergence and Generalization in Neural
Networks", 2018, arXiv 1806.07572.
"""

from regularity.theory.neural_tangent_kernel.method import (
    KernelFlow,
    Networks,
    Training,
    conditional_covariance,
    draw_networks,
    empirical_kernel,
    kernel_flow,
    network_outputs,
    train,
)
from regularity.theory.neural_tangent_kernel.problems import circle, product_of_coordinates, to_sphere
from regularity.theory.neural_tangent_kernel.rivals import kernel_ridge

__all__ = [
    "KernelFlow",
    "Networks",
    "Training",
    "circle",
    "conditional_covariance",
    "draw_networks",
    "empirical_kernel",
    "kernel_flow",
    "kernel_ridge",
    "network_outputs",
    "product_of_coordinates",
    "to_sphere",
    "train",
]

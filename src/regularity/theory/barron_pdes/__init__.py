"""Neural approximation of nonlinear equations: descent in a Sobolev space, with Barron norms under control.

Tanya Marwah, Zachary C. Lipton, Jianfeng Lu and Andrej Risteski, "Neural Network Approximations of PDEs Beyond
Linearity: A Representational Perspective", 2022, arXiv 2210.12101.
"""

from regularity.theory.barron_pdes.method import (
    Basis,
    Growth,
    Lagrangian,
    Networks,
    VariationalPDE,
    barron_norm,
    cosine_basis,
    descend,
    energy,
    energy_curvature,
    evaluate,
    first_variation,
    maurey_error,
    maurey_network,
    semilinear_bound,
    sine_basis,
    sobolev_descent,
    theorem_bound,
    variational_pde,
)
from regularity.theory.barron_pdes.problems import (
    draw_forcing,
    power_law,
    quartic_gradient,
    stretched_area,
    varying_coefficient,
)
from regularity.theory.barron_pdes.rivals import deep_ritz, plain_descent, spectral_newton

__all__ = [
    "Basis",
    "Growth",
    "Lagrangian",
    "Networks",
    "VariationalPDE",
    "barron_norm",
    "cosine_basis",
    "deep_ritz",
    "descend",
    "draw_forcing",
    "energy",
    "energy_curvature",
    "evaluate",
    "first_variation",
    "maurey_error",
    "maurey_network",
    "plain_descent",
    "power_law",
    "quartic_gradient",
    "semilinear_bound",
    "sine_basis",
    "sobolev_descent",
    "spectral_newton",
    "stretched_area",
    "theorem_bound",
    "variational_pde",
    "varying_coefficient",
]

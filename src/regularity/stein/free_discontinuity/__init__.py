"""Free discontinuity regression: a surface that is smooth but for jumps, and where and how high the jumps are.

Florian Gunsilius and David Van Dijcke, "Free Discontinuity Regression: With an Application to the Economic Effects
of Internet Shutdowns", arXiv 2309.14630.
"""

from regularity.stein.free_discontinuity.method import (
    Jumps,
    certify,
    find_jumps,
    free_discontinuity_regression,
    iterate_primal_dual,
    lifted_mumford_shah,
    price_of,
    project_paraboloid,
    refit_between_jumps,
    segment,
    smallest_notable_jump,
    sure_of_candidates,
)
from regularity.stein.free_discontinuity.problems import (
    cast_to_grid,
    compare_borders,
    draw_cone,
    mumford_shah_energy,
    mumford_shah_on_a_line,
    nearest_neighbour_noise,
    rand_index,
    sphere_border,
    sphere_side,
    step_height,
)

__all__ = [
    "Jumps",
    "cast_to_grid",
    "certify",
    "compare_borders",
    "draw_cone",
    "find_jumps",
    "free_discontinuity_regression",
    "iterate_primal_dual",
    "lifted_mumford_shah",
    "mumford_shah_energy",
    "mumford_shah_on_a_line",
    "nearest_neighbour_noise",
    "price_of",
    "project_paraboloid",
    "rand_index",
    "refit_between_jumps",
    "segment",
    "smallest_notable_jump",
    "sphere_border",
    "sphere_side",
    "step_height",
    "sure_of_candidates",
]

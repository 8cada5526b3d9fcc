"""Rolling ball: descend with a ball of finite radius on the graph of the loss, blind to what is smaller than it.

M. D. Belgoumri, M. R. Bouadjenek, H. Hacid, I. Razzak and S. Aryal, "Rolling Ball Optimizer: Learning by ironing out
loss landscape wrinkles", 2025, arXiv 2505.19527.
"""

from regularity.dynamics.rolling_ball.method import (
    BallTooLargeError,
    Contact,
    RollingBall,
    contact_point,
    descended_centre,
    largest_radius,
    offset_surface,
    roll,
    rolled_surface,
    rolling_ball_step,
)
from regularity.dynamics.rolling_ball.problems import build_network, rough_sum, two_waves, wave_bound
from regularity.dynamics.rolling_ball.rivals import entropy_sgd_step, sharpness_aware

__all__ = [
    "BallTooLargeError",
    "Contact",
    "RollingBall",
    "build_network",
    "contact_point",
    "descended_centre",
    "entropy_sgd_step",
    "largest_radius",
    "offset_surface",
    "roll",
    "rolled_surface",
    "rolling_ball_step",
    "rough_sum",
    "sharpness_aware",
    "two_waves",
    "wave_bound",
]

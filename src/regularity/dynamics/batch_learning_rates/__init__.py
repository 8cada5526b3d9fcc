"""Learning rates and batch sizes: how a batch moves the ends of the curvature's spectrum, and what follows from it.

Granziol, Zohren and Roberts, "Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural
Network Training", Journal of Machine Learning Research 23(173), 2022, arXiv 2006.09092.
"""

from regularity.dynamics.batch_learning_rates.method import (
    MOMENTA,
    BatchEnds,
    SampledLoss,
    Steps,
    additive_extreme,
    batch_extremes,
    curvature_noise,
    effective_batch_size,
    largest_stable,
    learn_steps,
    log_log_slope,
    multiplicative_extreme,
    second_order_shift,
)
from regularity.dynamics.batch_learning_rates.problems import (
    NETWORKS,
    additive_spectrum,
    first_points,
    multiplicative_spectrum,
)
from regularity.dynamics.batch_learning_rates.rivals import (
    SCHEDULES,
    epochs_of_batches,
    evaluate,
    train_runs,
)

__all__ = [
    "MOMENTA",
    "NETWORKS",
    "SCHEDULES",
    "BatchEnds",
    "SampledLoss",
    "Steps",
    "additive_extreme",
    "additive_spectrum",
    "batch_extremes",
    "curvature_noise",
    "effective_batch_size",
    "epochs_of_batches",
    "evaluate",
    "first_points",
    "largest_stable",
    "learn_steps",
    "log_log_slope",
    "multiplicative_extreme",
    "multiplicative_spectrum",
    "second_order_shift",
    "train_runs",
]

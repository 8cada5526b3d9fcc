"""Volume sampling: points that repel each other determine a function with hardly more of them than unknowns.

Anthony Nouy and Bertrand Michel, "Weighted least-squares approximation with determinantal point processes and
generalized volume sampling", 2023, arXiv 2312.14057.
"""

from regularity.theory.volume_sampling.method import (
    FeatureSpace,
    Sample,
    boosted,
    conditioned,
    gram_matrices,
    independent_sampling,
    projection_dpp,
    sample_at,
    volume_density,
    volume_sampling,
    weighted_least_squares,
)
from regularity.theory.volume_sampling.problems import (
    Problem,
    approximate,
    polynomial_space,
    population_space,
)

__all__ = [
    "FeatureSpace",
    "Problem",
    "Sample",
    "approximate",
    "boosted",
    "conditioned",
    "gram_matrices",
    "independent_sampling",
    "polynomial_space",
    "population_space",
    "projection_dpp",
    "sample_at",
    "volume_density",
    "volume_sampling",
    "weighted_least_squares",
]

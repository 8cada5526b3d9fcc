"""The chapter's runs."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from regularity.theory.extensive_width.method import matrix_error


@dataclass(frozen=True)
class EnsembleErrors:
    """Errors of several estimates of one matrix.

    Attributes
    ----------
    single
        Mean error of one of them.
    averaged
        Error of the mean of infinitely many: that of theirs, less its share of their spread.
    """

    single: float
    averaged: float


def ensemble_errors(draws: Float[Tensor, "b d d"], truth: Float[Tensor, "d d"]) -> EnsembleErrors:
    """Errors of several estimates, and of their mean as if there were infinitely many."""
    n = len(draws)
    single = matrix_error(draws, truth).mean().item()
    of_mean = matrix_error(draws.mean(dim=0), truth).item()
    return EnsembleErrors(single, of_mean - (single - of_mean) / (n - 1))

"""Binomial expectations as sums over all counts: an oracle without sampling."""

import numpy as np
import torch
from scipy import stats

RATES = np.array([0.0, 0.003, 0.1, 0.35, 0.5, 0.77, 1.0])


def tensor(values):
    """Numbers in double precision."""
    return torch.as_tensor(values, dtype=torch.float64)


def all_counts(n):
    """The counts 0..n, and n beside each."""
    return tensor(range(n + 1)), torch.full((n + 1,), float(n), dtype=torch.float64)


def mean_over_counts(values, n, p=RATES):
    """Expectation under Bin(n, p) of a function given by its values at 0..n, one for each p."""
    return stats.binom.pmf(np.arange(n + 1), n, p[:, None]) @ np.asarray(values)


def exact_risk(table, n, p=RATES):
    """Mean squared error of an estimate given by its values at 0..n, one for each p."""
    errors = (np.asarray(table) - p[:, None]) ** 2
    return (stats.binom.pmf(np.arange(n + 1), n, p[:, None]) * errors).sum(axis=1)

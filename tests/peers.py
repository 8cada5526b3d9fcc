"""Peer libraries that serve as oracles."""

import importlib
import sys
import warnings
from types import ModuleType

import numpy as np
import torch


def import_deepinv() -> ModuleType:
    """Import deepinv, also where torchvision's compiled operators were built for another torch.

    deepinv imports torchvision and uses none of its operators here. The wheel on the package index is built for
    CUDA; beside a CPU build of torch its import fails for want of two operators' declarations, which this supplies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for operator in ("nms", "qnms"):
                signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", signature)
        return importlib.import_module("deepinv")


def solve_lifted_cone(
    data: np.ndarray, fidelity: float, boundary_price: float, n_bins: int, **options: float
) -> tuple[float, np.ndarray]:
    """Solve the lifted Mumford-Shah problem as a second-order cone programme, by cvxpy and Clarabel.

    Each cell holds a measure over labels, as masses at the two ends of every bin. Mass pays the squared distance of
    its mean to the data and the squared slope, both divided by the mass; breaks across runs of bins pay their length.
    Returns the least energy, and the mean of each cell's measure.
    """
    import cvxpy

    n_axes, side, width = data.ndim, 1 / data.shape[0], 1 / n_bins
    g, n = data.ravel(), data.size
    cell = np.arange(n).reshape(data.shape)
    runs = [(first, last) for first in range(n_bins) for last in range(first, n_bins)]
    low, high = (cvxpy.Variable((n, n_bins), nonneg=True) for _ in range(2))
    breaks = [cvxpy.Variable((n, len(runs))) for _ in range(n_axes)]
    mass = low + high
    higher = np.tril(np.ones((n_bins, n_bins)), -1)  # sums the bins above
    inside = mass @ higher + high
    held = np.array([[first <= k <= last for k in range(n_bins)] for first, last in runs], dtype=float)

    rises = []
    for axis in range(n_axes):
        start = np.delete(cell, -1, axis=axis).ravel()
        end = np.delete(cell, 0, axis=axis).ravel()
        step = np.zeros((n, n))
        step[start, end], step[start, start] = 1 / side, -1 / side
        rises.append(width * (step @ inside + breaks[axis] @ held))
    energy = 0
    for i in range(n):
        for k in range(n_bins):
            moment = low[i, k] * (k * width - g[i]) + high[i, k] * ((k + 1) * width - g[i])
            parts = [rise[i, k] for rise in rises] + [fidelity**0.5 * moment]
            energy += cvxpy.quad_over_lin(cvxpy.hstack(parts), mass[i, k])
        for run in range(len(runs)):
            energy += boundary_price * cvxpy.norm(cvxpy.hstack([part[i, run] for part in breaks]))
    problem = cvxpy.Problem(cvxpy.Minimize(energy), [cvxpy.sum(mass, axis=1) == 1])
    value = problem.solve(solver="CLARABEL", **options)
    return side**n_axes * value, width * inside.value.sum(axis=1).reshape(data.shape)

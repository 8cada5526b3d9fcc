"""Peer libraries that serve as oracles."""

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse
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


def lifted_cone(data: np.ndarray, fidelity: float, boundary_price: float, n_bins: int) -> tuple[Any, Any]:
    """Write the lifted Mumford-Shah problem as a second-order cone programme, for cvxpy.

    Each cell holds a measure over labels, as masses at the two ends of every bin. Mass pays the squared distance of
    its mean to the data and the squared slope, both divided by the mass; breaks across runs of bins pay their length.
    Returns the problem, whose value is the least energy, and the expression of the mean of each cell's measure.
    """
    import cvxpy

    n_axes, side, width = data.ndim, 1 / data.shape[0], 1 / n_bins
    g, n = data.ravel(), data.size
    cell = np.arange(n).reshape(data.shape)
    runs = [(first, last) for first in range(n_bins) for last in range(first, n_bins)]
    held = np.array([[first <= k <= last for k in range(n_bins)] for first, last in runs], dtype=float)
    low, high = (cvxpy.Variable((n, n_bins), nonneg=True) for _ in range(2))
    breaks = [cvxpy.Variable((n, len(runs))) for _ in range(n_axes)]
    mass = low + high
    higher = np.tril(np.ones((n_bins, n_bins)), -1)  # sums the bins above
    inside = mass @ higher + high

    labels = np.arange(n_bins) * width - g[:, None]
    parts = [fidelity**0.5 * (cvxpy.multiply(low, labels) + cvxpy.multiply(high, labels + width))]
    for axis in range(n_axes):
        start = np.delete(cell, -1, axis=axis).ravel()
        end = np.delete(cell, 0, axis=axis).ravel()
        step = scipy.sparse.lil_matrix((n, n))
        step[start, end], step[start, start] = 1 / side, -1 / side
        parts.append(width * (step.tocsr() @ inside + breaks[axis] @ held))
    # cost·mass ≥ |parts|², in every bin of every cell, as a rotated cone.
    cost = cvxpy.Variable((n, n_bins))
    rows = [2 * cvxpy.vec(part, order="C") for part in parts] + [cvxpy.vec(cost - mass, order="C")]
    cones = [cvxpy.SOC(cvxpy.vec(cost + mass, order="C"), cvxpy.vstack(rows))]
    lengths = cvxpy.norm(cvxpy.vstack([cvxpy.vec(part, order="C") for part in breaks]), axis=0)
    energy = side**n_axes * (cvxpy.sum(cost) + boundary_price * cvxpy.sum(lengths))
    problem = cvxpy.Problem(cvxpy.Minimize(energy), [cvxpy.sum(mass, axis=1) == 1, *cones])
    return problem, width * cvxpy.sum(inside, axis=1)


def solve_lifted_cone(
    data: np.ndarray, fidelity: float, boundary_price: float, n_bins: int
) -> tuple[float, np.ndarray]:
    """Solve it by Clarabel: the least energy, and the mean of each cell's measure."""
    problem, mean = lifted_cone(data, fidelity, boundary_price, n_bins)
    value = problem.solve(solver="CLARABEL")
    return value, mean.value.reshape(data.shape)

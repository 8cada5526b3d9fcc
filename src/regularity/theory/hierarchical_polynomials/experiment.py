"""The chapter's runs: learning curves of the layerwise network, its rivals on the same samples, sizes needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from regularity.foundations.kernels import gaussian_kernel, wide_network_kernels
from regularity.theory.hierarchical_polynomials.method import (
    ThreeLayerNetwork,
    descend,
    ridge,
    train_layerwise,
)
from regularity.theory.hierarchical_polynomials.problems import HierarchicalPolynomial, Samples
from regularity.theory.hierarchical_polynomials.rivals import (
    fit_kernel_ridge,
    one_step_feature,
    polynomial_kernel,
    train_relu_network,
)

Kernel = Callable[[Tensor, Tensor], Tensor]

# --- Measures ----------------------------------------------------------------------------------------------------


def relative_error(predictions: Float[Tensor, " n"], labels: Float[Tensor, " n"]) -> float:
    """Mean squared error in units of the labels' variance."""
    return ((predictions - labels).square().mean() / labels.var(correction=0)).item()


def correlation(ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"]) -> float:
    """Pearson's."""
    return torch.corrcoef(torch.stack([ours.double(), theirs.double()]))[0, 1].item()


def size_at(sizes: Sequence[int], values: Sequence[float], level: float) -> float:
    """First sample size at which a curve crosses a level, between its points on a line in log n.

    A curve that never does goes on from its end with the slope of least squares; where that leads away, the size is
    infinite.
    """
    logs, gaps = np.log(sizes), np.array(values) - level
    crossed = np.flatnonzero(gaps[:-1] * gaps[1:] <= 0)
    start, end = (crossed[0], crossed[0] + 1) if len(crossed) else (0, len(logs) - 1)
    slope = np.polyfit(logs[start : end + 1], gaps[start : end + 1], 1)[0]
    if not len(crossed) and slope * gaps[end] >= 0:
        return float("inf")
    return float(np.exp(logs[end] - gaps[end] / slope)) if slope else float(sizes[start])


def growth_exponents(dimensions: Sequence[int], sizes: Float[Tensor, "r d"]) -> list[float]:
    """Slope of log n in log d by least squares, one for each repetition."""
    return np.polyfit(np.log(dimensions), np.log(sizes.numpy()).T, 1)[0].tolist()


# --- The layerwise network ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """Width of the first layer in units of the number of monomials; test points; where to compute."""

    width_ratio: float = 1.25
    n_test: int = 4000
    device: torch.device | str = "cpu"

    def train(
        self, target: HierarchicalPolynomial, samples: Samples, generator: Generator, **options
    ) -> ThreeLayerNetwork:
        """Train on all samples, with a first layer of the setting's width but of 64 at least."""
        n_monomials = comb(target.dimension + target.degree, target.degree)
        return train_layerwise(
            samples.inputs,
            samples.labels,
            degree=target.degree,
            width1=max(64, round(self.width_ratio * n_monomials)),
            generator=generator,
            **options,
        )

    def draw(self, target: HierarchicalPolynomial, n: int, generator: Generator) -> tuple[Samples, Samples]:
        """Draw samples to train on, and the test's."""
        return target.draw(n, generator, self.device), target.draw(self.n_test, generator, self.device)


def first(samples: Samples, n: int) -> Samples:
    """The first n of some samples."""
    return Samples(*(values[:n] for values in samples))


@dataclass(frozen=True)
class Curve:
    """Relative test error, and correlation of φ with p, at growing sample sizes of one draw."""

    sizes: list[int]
    error: list[float]
    correlation: list[float]


def learning_curve(
    target: HierarchicalPolynomial, sizes: Sequence[int], setting: Setting, generator: Generator
) -> Curve:
    """Train on the first samples of one draw, more and more of them."""
    samples, test = setting.draw(target, max(sizes), generator)
    found = []
    for n in sizes:
        network = setting.train(target, first(samples, n), generator)
        values = network.feature(test.inputs)
        error = relative_error(network.link(values), test.labels)
        found.append((error, correlation(values, test.hidden)))
    errors, correlations = map(list, zip(*found, strict=True))
    return Curve(list(sizes), errors, correlations)


def descent_path(
    target: HierarchicalPolynomial, n: int, steps: Sequence[int], setting: Setting, generator: Generator
) -> dict[int | str, tuple[float, float]]:
    """Error and correlation where both stages descend for so many steps, and under "ridge" where they end."""
    samples, test = setting.draw(target, n, generator)
    state, found = generator.get_state(), {}
    for stop in (*steps, "ridge"):
        generator.set_state(state)  # the same random layers
        solve = ridge if stop == "ridge" else partial(descend, n_steps=stop)
        network = setting.train(target, samples, generator, solve=solve)
        values = network.feature(test.inputs)
        error = relative_error(network.link(values), test.labels)
        found[stop] = (error, correlation(values, test.hidden))
    return found


def one_step_curve(
    target: HierarchicalPolynomial,
    sizes: Sequence[int],
    setting: Setting,
    generator: Generator,
    *,
    lower_degrees: bool,
) -> list[float]:
    """Correlation with p of what one step finds, at growing sample sizes of one draw."""
    samples, test = setting.draw(target, max(sizes), generator)
    found = []
    for n in sizes:
        seen = first(samples, n)
        feature = one_step_feature(seen.inputs, seen.labels, test.inputs, lower_degrees=lower_degrees)
        found.append(correlation(feature, test.hidden))
    return found


# --- Rivals ------------------------------------------------------------------------------------------------------


def tangent_kernel(points: Tensor, others: Tensor, *, depth: int) -> Tensor:
    """That of infinitely wide ReLU networks, block by block of its rows."""
    blocks = [wide_network_kernels(rows, others, depth=depth, bias_std=0.1).ntk for rows in points.split(128)]
    return torch.cat(blocks)


def kernel_candidates(dimension: int) -> dict[str, list[Kernel]]:
    """Kernels of each kind, to be chosen from."""
    return {
        "tangent": [partial(tangent_kernel, depth=depth) for depth in (2, 3)],
        "Gaussian": [partial(gaussian_kernel, lengthscale=s * dimension**0.5) for s in (0.5, 1.0, 2.0, 4.0)],
        "quartic": [partial(polynomial_kernel, degree=4, shift=shift) for shift in (0.25, 0.5, 1.0, 2.0)],
    }


def choose_kernel(
    kernels: Sequence[Kernel], penalties: Sequence[float], samples: Samples, validation: Samples
) -> tuple[Kernel, float]:
    """The kernel and penalty of least error on the validation."""
    found = []
    for kernel in kernels:
        own, cross = kernel(samples.inputs, samples.inputs), kernel(validation.inputs, samples.inputs)
        for penalty in penalties:
            predictions = cross @ fit_kernel_ridge(own, samples.labels, penalty)
            found.append((relative_error(predictions, validation.labels), kernel, penalty))
    return min(found, key=lambda candidate: candidate[0])[1:]


def kernel_error(kernel: Kernel, penalty: float, samples: Samples, test: Samples) -> float:
    """Relative test error of kernel ridge regression."""
    weights = fit_kernel_ridge(kernel(samples.inputs, samples.inputs), samples.labels, penalty)
    return relative_error(kernel(test.inputs, samples.inputs) @ weights, test.labels)


def kernel_curves(
    target: HierarchicalPolynomial,
    sizes: Sequence[int],
    n_draws: int,
    penalties: Sequence[float],
    setting: Setting,
    stream: Callable[..., Generator],
) -> list[list[float]]:
    """Errors of the quartic kernel at growing sizes, one list a draw; another draw chooses shift and penalty."""
    tuning = setting.draw(target, max(sizes), stream("tuning", target.dimension))
    chosen = choose_kernel(kernel_candidates(target.dimension)["quartic"], penalties, *tuning)
    curves = []
    for number in range(n_draws):
        samples, test = setting.draw(target, max(sizes), stream("draw", target.dimension, number))
        curves.append([kernel_error(*chosen, first(samples, n), test) for n in sizes])
    return curves


def choose_rate(
    widths: list[int],
    rates: Sequence[float],
    samples: Samples,
    validation: Samples,
    stream: Callable,
    **options,
) -> float:
    """The learning rate whose network has the least error on the validation."""
    errors = {
        rate: train_relu_network(
            widths,
            samples.inputs,
            samples.labels,
            (validation.inputs, validation.labels),
            learning_rate=rate,
            generator=stream("rate", number),
            **options,
        )[1]
        for number, rate in enumerate(rates)
    }
    return min(errors, key=errors.get)


def compare(
    samples: Samples,
    validation: Samples,
    test: Samples,
    target: HierarchicalPolynomial,
    kernels: Mapping[str, tuple[Kernel, float]],
    networks: Mapping[str, tuple[list[int], float]],
    n_epochs: int,
    setting: Setting,
    stream: Callable[..., Generator],
) -> dict[str, float]:
    """Relative test error of every method on one draw; the validation is for those that stop early."""
    network = setting.train(target, samples, stream("layerwise"))
    found = {"layerwise": relative_error(network.predict(test.inputs), test.labels)}
    for name, (kernel, penalty) in kernels.items():
        found[name] = kernel_error(kernel, penalty, samples, test)
    for name, (widths, rate) in networks.items():
        trained, _ = train_relu_network(
            widths,
            samples.inputs,
            samples.labels,
            (validation.inputs, validation.labels),
            learning_rate=rate,
            n_epochs=n_epochs,
            generator=stream(name),
        )
        with torch.no_grad():
            found[name] = relative_error(trained(test.inputs)[:, 0], test.labels)
    return found

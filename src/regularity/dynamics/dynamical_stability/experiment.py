"""The chapter's runs: exact thresholds, grids of learning rates, norms beside sharpness, and the failure."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from sklearn.linear_model import LassoCV
from torch import Tensor

from regularity.dynamics.dynamical_stability.method import (
    Descent,
    Parameters,
    Sharpness,
    alignment,
    critical_learning_rate,
    descend,
    gram_matrix,
    second_moment_step,
    sharpness,
)
from regularity.dynamics.dynamical_stability.problems import (
    DiagonalNetwork,
    ReluNetwork,
    Sample,
)
from regularity.foundations.randomness import Stream

BATCH_SIZES = (1, 2, 4, 8, math.inf)

# --- Exact thresholds -----------------------------------------------------------------------------------------------


def random_designs(
    n_designs: int, generator: torch.Generator, *, unit: bool
) -> Float[Tensor, "designs 12 12"]:
    """Gram matrices of linear models with 12 samples in 5 dimensions, of length one each where `unit` says so."""
    rows = torch.randn(n_designs, 12, 5, generator=generator, dtype=torch.float64)
    return torch.stack(
        [gram_matrix(each / each.norm(dim=1, keepdim=True) if unit else each) for each in rows]
    )


def model_with_a_long_sample(generator: torch.Generator, *, factor: float) -> Float[Tensor, "12 2"]:
    """Twelve samples in two dimensions, of length one but for the first, which is longer."""
    rows = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True)
    rows[0] *= factor
    return rows


def frobenius_shares(grams: Float[Tensor, "designs n n"]) -> list[float]:
    """Critical learning rate over the bound √(B/μ)/‖H‖_F, for every design and finite batch size."""
    return [
        critical_learning_rate(gram, size) * gram.norm().item() * math.sqrt(alignment(gram) / size)
        for gram in grams
        for size in BATCH_SIZES[:-1]
    ]


# --- Problems, and the grids of learning rates ----------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """What is trained on, what chooses the learning rate, and what judges."""

    train: Sample
    validation: Sample
    test: Sample

    def to(self, device: torch.device) -> "Split":
        """Move to a device."""
        return Split(self.train.to(device), self.validation.to(device), self.test.to(device))


def split_of(
    draw: Callable[[int, torch.Generator], Sample], n_train: int, n_test: int, stream: Stream
) -> Split:
    """Samples of ``draw(n, generator)``: as many validate as train."""
    sizes = {"train": n_train, "validation": n_train, "test": n_test}
    return Split(**{name: draw(n, stream(name)) for name, n in sizes.items()})


@dataclass(frozen=True)
class Grid:
    """All runs of one optimiser on one network; problems along the first axis, learning rates along the second."""

    rates: list[float]
    descent: Descent
    loss: Tensor  # half the mean squared error in training
    validation: Tensor  # mean squared error over the variance of the targets; infinite for runs that diverged
    test: Tensor  # likewise
    sharpness: Sharpness  # of the Hessian at the end
    norm: Tensor  # of the effective weights
    converged: Tensor  # whether a run is at a minimum: a loss below 1e-4, no gradient clipped at the end

    def settled(self) -> list[int]:
        """Places of the learning rates at which every run converged."""
        return [place for place in range(len(self.rates)) if bool(self.converged[:, place].all())]

    def choose(self, n_tuning: int) -> int:
        """Place of the learning rate with the least mean validation error on the first few problems."""
        return int(self.validation[:n_tuning].mean(dim=0).argmin())


def run_grid(
    network: DiagonalNetwork | ReluNetwork,
    split: Split,
    rates: Sequence[float],
    stream: Stream,
    **options: int | float | None,
) -> Grid:
    """Train from the same start at every learning rate, with the options of `descend`, and measure the ends."""
    inputs, targets = split.train.inputs, split.train.targets
    start = network.start(len(inputs), inputs.shape[-1], stream("start"))
    descent = descend(
        network,
        tuple(layer.to(inputs.device).repeat_interleave(len(rates), dim=1) for layer in start),
        inputs,
        targets,
        torch.tensor(rates, device=inputs.device),
        generator=stream("batches"),
        **options,
    )
    loss = squared_errors(network, descent.parameters, split.train) / 2
    relative = [
        squared_errors(network, descent.parameters, sample) / sample.targets.var(dim=1)[:, None]
        for sample in (split.validation, split.test)
    ]
    return Grid(
        list(rates),
        descent,
        loss,
        *relative,
        sharpness(grams(network, descent.parameters, inputs)),
        network.effective_norm(descent.parameters),
        (loss < 1e-4) & ~descent.clipped,
    )


def squared_errors(network: DiagonalNetwork | ReluNetwork, parameters: Parameters, sample: Sample) -> Tensor:
    """Mean squared error of every run; infinite where it diverged."""
    gaps = network.predict(parameters, sample.inputs) - sample.targets[:, None]
    return gaps.double().square().mean(dim=-1).nan_to_num(nan=math.inf)


def grams(network: DiagonalNetwork | ReluNetwork, parameters: Parameters, inputs: Tensor) -> Tensor:
    """Gram matrices of all runs; zero for those that diverged."""
    return network.gram(parameters, inputs).nan_to_num(0, 0, 0).clamp(-1e100, 1e100)


def critical_rates(
    network: DiagonalNetwork | ReluNetwork, grid: Grid, inputs: Tensor, batch_size: int, n_tuning: int
) -> Tensor:
    """Exact critical rate of the minimum where a run ended; NaN where there is none, and for tuning problems."""
    found = torch.full(grid.loss.shape, math.nan, dtype=torch.float64)
    for problem, rate in grid.converged.nonzero().tolist():
        if problem < n_tuning:
            continue
        parameters = tuple(layer[problem, rate][None, None] for layer in grid.descent.parameters)
        gram = network.gram(parameters, inputs[problem, None])[0, 0]
        found[problem, rate] = critical_learning_rate(gram, batch_size, n_steps=12)
    return found


# --- Sharpness beside norms -----------------------------------------------------------------------------------------


def varied(parameters: Parameters) -> Iterator[Parameters]:
    """A point of a network and others far from it: few units, one layer larger than the other, all units alike."""
    inner, outer = parameters
    few = torch.arange(outer.shape[2], device=outer.device) < max(1, outer.shape[2] // 10)
    yield inner, outer
    yield inner, outer * few
    if inner.ndim == outer.ndim:  # a diagonal network: its unit is an input
        yield inner * few, outer * few
    else:
        yield inner[:, :, :1].expand_as(inner), outer
    yield 5 * inner, outer
    yield inner, 5 * outer


def equivalence(
    network: DiagonalNetwork | ReluNetwork, inputs: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Sharpness over the norm that it is equivalent to, by kind: (problems, points)."""
    start = network.start(len(inputs), inputs.shape[-1], generator)
    points = list(varied(tuple(layer.to(inputs.device) for layer in start)))
    found = [sharpness(network.gram(point, inputs)) for point in points]
    return {
        kind: torch.cat(
            [
                getattr(sizes, kind) / network.norms(point)[kind].double()
                for sizes, point in zip(found, points, strict=True)
            ],
            dim=1,
        )
        for kind in ("trace", "frobenius", "spectral")
    }


# --- What gradient descent allows, and what explicit norms do -------------------------------------------------------


def spread_interpolant(
    inputs: Float[Tensor, "n d"],
    truth: Float[Tensor, " d"],
    learning_rate: float,
    generator: torch.Generator,
    *,
    kind: str,
) -> tuple[float, Tensor]:
    """Move from the truth along the null space of the sample for as long as a measure of sharpness is at most 2/η.

    The direction is a random one, so that the change is spread over all inputs; the layers are balanced. The measure
    is that of GD, "spectral", or that of SGD, "trace". Returned are the relative error there, and the Gram matrix.
    """
    inputs, truth = inputs.double().cpu(), truth.double().cpu()
    direction = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    direction = direction - torch.linalg.pinv(inputs) @ (inputs @ direction)

    def gram(length: float) -> Tensor:
        weights = 2 * (truth + length * direction).abs()  # a² + b² where |a| = |b|
        return gram_matrix(inputs * weights.sqrt())

    def excess(length: float) -> float:
        return getattr(sharpness(gram(length)), kind).item() - 2 / learning_rate

    length = brentq(excess, 0.0, 1e3, rtol=1e-3) if excess(0.0) < 0 else 0.0
    return ((length * direction).square().sum() / truth.square().sum()).item(), gram(length)


def explicit_errors(sample: Sample, n_relevant: int = 3) -> dict[str, list[float]]:
    """Relative errors of the interpolant of least Euclidean norm, and of the cross-validated Lasso, by problem."""
    errors = {"least Euclidean norm": [], "Lasso, cross-validated": []}
    for inputs, targets in zip(sample.inputs.cpu().numpy(), sample.targets.cpu().numpy(), strict=True):
        truth = np.zeros(inputs.shape[1])
        truth[:n_relevant] = 1
        lasso = LassoCV(alphas=np.logspace(-4, 0, 30), cv=3, fit_intercept=False).fit(inputs, targets)
        for name, found in zip(errors, (np.linalg.pinv(inputs) @ targets, lasso.coef_), strict=True):
            errors[name].append(float(np.square(found - truth).sum() / np.square(truth).sum()))
    return errors


# --- Where it breaks: the mean square is not the typical run --------------------------------------------------------


def log_distances(
    jacobian: Float[Tensor, "n p"],
    learning_rate: float,
    generator: torch.Generator,
    *,
    n_runs: int,
    n_steps: int,
) -> Float[Tensor, "steps runs"]:
    """Logarithms of squared distances to a minimum along runs of linearised SGD, a sample a step, from length one."""
    n, p = jacobian.shape
    offsets = torch.randn(n_runs, p, generator=generator, dtype=torch.float64)
    offsets /= offsets.norm(dim=1, keepdim=True)
    logs = []
    for _ in range(n_steps):
        rows = jacobian[torch.randint(n, (n_runs,), generator=generator)]
        offsets = offsets - learning_rate * (rows * offsets).sum(dim=1, keepdim=True) * rows
        lengths = offsets.norm(dim=1, keepdim=True)
        offsets = offsets / lengths
        logs.append(2 * lengths[:, 0].log())
    return torch.stack(logs).cumsum(dim=0)


def typical_growth(logs: Float[Tensor, "steps runs"]) -> float:
    """Factor a step by which a typical squared distance changes: a Lyapunov exponent, exponentiated.

    It is taken from the last three quarters of the steps; by then the direction has forgotten its start.
    """
    begin = len(logs) // 4
    return math.exp((logs[-1] - logs[begin - 1]).mean().item() / (len(logs) - begin))


def mean_distances(jacobian: Float[Tensor, "n p"], learning_rate: float, n_steps: int) -> list[float]:
    """Mean squared distances by the operator, from a random direction."""
    moment, means = torch.eye(jacobian.shape[1], dtype=torch.float64) / jacobian.shape[1], []
    for _ in range(n_steps):
        moment = second_moment_step(moment, jacobian, learning_rate=learning_rate, batch_size=1)
        means.append(moment.trace().item())
    return means

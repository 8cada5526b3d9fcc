"""SVH-PSL: learn a whole Pareto set from a few dozen evaluations, with Stein variational hypernetworks.

Minh-Duc Nguyen, Phuong Mai Dinh, Quang-Huy Nguyen, Long P. Hoang and Dung D. Le, "Improving Pareto Set Learning for
Expensive Multi-objective Optimization via Stein Variational Hypernetworks", AAAI 2025, arXiv 2412.17312.

`optimise` is the loop: a Latin hypercube, Gaussian processes, a batch of new solutions, again.
`acquire_from_pareto_set` is the method's batch: a network learns to map preferences to solutions
(`learn_pareto_set`), along the direction that this paper is about (`stein_hypernetwork_direction`).
`acquire_by_expected_improvement` is the rival without a network. All of it runs many methods and seeds at once.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import qmc
from torch import Tensor, nn
from torch.nn import functional

from regularity.foundations.checks import check_at_least, check_positive
from regularity.foundations.gaussian_processes import (
    GaussianProcess,
    confidence_bound,
    fit_gaussian_process,
    predict,
    sample_jointly,
)
from regularity.foundations.metrics import hypervolume, hypervolume_improvement, nondominated
from regularity.foundations.particles import median_bandwidth, stein_variational_direction

# --- Problems ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Several objectives over the unit cube, all to be minimised.

    Attributes
    ----------
    objectives
        Map from solutions (..., d) in [0, 1] to objective values (..., m), differentiable or not.
    n_variables
        d.
    ideal, nadir
        Objective values that are scaled to 0 and to 1.
    reference
        Reference point of the hypervolume, scaled.
    front
        ``front(n)``: n points of the Pareto front in the objectives' own units, where it is known in closed form.
    """

    objectives: Callable[[Tensor], Tensor]
    n_variables: int
    ideal: tuple[float, ...]
    nadir: tuple[float, ...]
    reference: tuple[float, ...]
    front: Callable[[int], Tensor] | None = None

    @property
    def n_objectives(self) -> int:
        """Number of objectives, m."""
        return len(self.ideal)

    def scale(self, values: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch m"]:
        """Scale objective values, so that the ideal point is 0 and the nadir 1.

        Parameters
        ----------
        values
            In the units of the objectives, one objective a column.

        Returns
        -------
        The scaled values.
        """
        ideal, nadir = values.new_tensor(self.ideal), values.new_tensor(self.nadir)
        return (values - ideal) / (nadir - ideal)

    def evaluate(self, solutions: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch n m"]:
        """Evaluate solutions.

        Parameters
        ----------
        solutions
            One a row, in [0, 1].

        Returns
        -------
        The scaled objectives.

        Raises
        ------
        ValueError
            If a solution has the wrong length or lies outside the cube, or an evaluation is not finite.
        """
        if solutions.shape[-1] != self.n_variables:
            raise ValueError(f"solutions must have {self.n_variables} variables; got {solutions.shape[-1]}")
        low, high = solutions.min().item(), solutions.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"solutions must be in [0, 1]; got a range of [{low:g}, {high:g}]")
        values = self.scale(self.objectives(solutions))
        broken = (~torch.isfinite(values)).any(dim=-1).nonzero()
        if len(broken):
            place = tuple(broken[0].tolist())
            raise ValueError(
                f"objectives must be finite; got evaluation {place[-1]}: {values[place].tolist()}"
            )
        return values


def _zdt(first: Tensor, rest: Tensor, shape: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    g = 1 + 9 * rest.mean(dim=-1)
    return torch.stack([first, g * shape(first, g)], dim=-1)


def _zdt1(x: Tensor) -> Tensor:
    return _zdt(x[..., 0], x[..., 1:], lambda first, g: 1 - torch.sqrt(first / g))


def _zdt2(x: Tensor) -> Tensor:
    return _zdt(x[..., 0], x[..., 1:], lambda first, g: 1 - (first / g).square())


def _zdt3(x: Tensor) -> Tensor:
    def shape(first: Tensor, g: Tensor) -> Tensor:
        return 1 - torch.sqrt(first / g) - first / g * torch.sin(10 * math.pi * first)

    return _zdt(x[..., 0], x[..., 1:], shape)


def _graph(function: Callable[[Tensor], Tensor]) -> Callable[[int], Tensor]:
    """The front whose second objective is a function of the first, which covers [0, 1]."""

    def front(n: int) -> Tensor:
        first = torch.linspace(0, 1, n, dtype=torch.float64)
        return torch.stack([first, function(first)], dim=-1)

    return front


def _f2(x: Tensor) -> Tensor:
    n = x.shape[-1]
    index = torch.arange(2, n + 1, device=x.device)
    exponents = (1 + 3 * (index - 2) / (n - 2)) / 2
    squares = (x[..., 1:] - x[..., :1] ** exponents).square()
    odd, even = squares[..., index % 2 == 1].mean(dim=-1), squares[..., index % 2 == 0].mean(dim=-1)
    first = x[..., 0]
    return torch.stack([(1 + odd) * first, (1 + even) * (1 - torch.sqrt(first / (1 + even)))], dim=-1)


def _vlmop2(x: Tensor) -> Tensor:
    centre = 1 / math.sqrt(x.shape[-1])
    squares = [(4 * x - 2 - sign * centre).square().sum(dim=-1) for sign in (1, -1)]
    return 1 - torch.exp(-torch.stack(squares, dim=-1))


def _vlmop2_front(n: int) -> Tensor:
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    return 1 - torch.exp(-torch.stack([(t - 1).square(), (t + 1).square()], dim=-1))


# The four-bar truss: lengths 200, load 10, modulus 2e5; the bars' sections x lie in these bounds.
_BARS = ((1.0, 3.0), (math.sqrt(2), 3.0), (math.sqrt(2), 3.0), (1.0, 3.0))


def _truss(sections: Tensor) -> Tensor:
    x1, x2, x3, x4 = sections.unbind(dim=-1)
    volume = 200 * (2 * x1 + math.sqrt(2) * x2 + torch.sqrt(x3) + x4)
    displacement = 0.01 * (2 / x1 + 2 * math.sqrt(2) * (1 / x2 - 1 / x3) + 2 / x4)
    return torch.stack([volume, displacement], dim=-1)


def _re21(x: Tensor) -> Tensor:
    low, high = x.new_tensor(_BARS).unbind(dim=-1)
    return _truss(low + (high - low) * x)


def _re21_front(n: int) -> Tensor:
    """Both objectives grow with x3, so it is least; in the others they are convex, and ∇F₂ ∝ ∇F₁ gives the front."""
    t = torch.linspace(1 / math.sqrt(2), 3, n, dtype=torch.float64)
    low, high = t.new_tensor(_BARS).unbind(dim=-1)
    sections = torch.stack([t, math.sqrt(2) * t, torch.zeros_like(t), math.sqrt(2) * t], dim=-1)
    return _truss(torch.minimum(torch.maximum(sections, low), high))


# The rocket injector's response surfaces: coefficients of the monomials in the variables (a, h, o, t).
_INJECTOR = (
    "0.692 0.477a -0.687h -0.080o -0.0650t -0.167aa -0.0129ah 0.0796hh -0.0634ao -0.0257ho 0.0877oo -0.0521at "
    "0.00156ht 0.00198ot 0.0184tt",
    "0.153 -0.322a 0.396h 0.424o 0.0226t 0.175aa 0.0185ah -0.0701hh -0.251ao 0.179ho 0.0150oo 0.0134at 0.0296ht "
    "0.0752ot 0.0192tt",
    "0.370 -0.205a 0.0307h 0.108o 1.019t -0.135aa 0.0141ah 0.0998hh 0.208ao -0.0301ho -0.226oo 0.353at -0.0497ot "
    "-0.423tt 0.202aah -0.281aao -0.342ahh -0.245hho 0.281hoo -0.184att -0.281aho",
)


def _re37(x: Tensor) -> Tensor:
    variables = dict(zip("ahot", x.unbind(dim=-1), strict=True))

    def polynomial(terms: str) -> Tensor:
        total = torch.zeros_like(x[..., 0])
        for term in terms.split():
            powers = term.lstrip("-.0123456789")
            factors = [variables[letter] for letter in powers]
            total = total + float(term.removesuffix(powers)) * math.prod(
                factors, start=torch.ones_like(total)
            )
        return total

    return torch.stack([polynomial(terms) for terms in _INJECTOR], dim=-1)


_TRUSS_IDEAL = (200 * (5 + 2**0.25), 0.01 * (4 / 3 + 2 * math.sqrt(2) / 3 - 2))
_TRUSS_NADIR = (200 * (9 + 3 * math.sqrt(2) + 2**0.25), 0.04)
_UNIT = ((0.0, 0.0), (1.0, 1.0))

# The reference points of ZDT are those of the authors' code.
PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "ZDT1": Problem(_zdt1, 20, *_UNIT, (0.9994, 6.0576), _graph(lambda first: 1 - first.sqrt())),
        "ZDT2": Problem(_zdt2, 20, *_UNIT, (0.9994, 6.896), _graph(lambda first: 1 - first.square())),
        "ZDT3": Problem(_zdt3, 20, *_UNIT, (0.9994, 6.0571)),
        "F2": Problem(_f2, 6, *_UNIT, (1.1, 1.1), _graph(lambda first: 1 - first.sqrt())),
        "VLMOP2": Problem(_vlmop2, 6, *_UNIT, (1.1, 1.1), _vlmop2_front),
        "RE21": Problem(_re21, 4, _TRUSS_IDEAL, _TRUSS_NADIR, (1.1, 1.1), _re21_front),
        "RE37": Problem(
            _re37,
            4,
            (0.00889341391106, 0.00488, -0.431499999825),
            (0.98949120096, 0.956587924661, 0.987530948586),
            (1.1, 1.1, 1.1),
        ),
    }
)


# --- The surrogate, and the network on it --------------------------------------------------------------------------


@dataclass(frozen=True)
class Surrogate:
    """What a run knows: its evaluations, a Gaussian process an objective, and an estimate of the ideal point.

    Attributes
    ----------
    process
        Processes of batch shape (runs, m), of the objectives at mean 0 and standard deviation 1.
    solutions, values
        What was evaluated, and what came out, in the units that the networks see.
    ideal
        z in those units, below every value seen.
    shift, unit
        Mean and standard deviation of the values: 0 and 1 where the networks see standardised objectives.
    """

    process: GaussianProcess
    solutions: Float[Tensor, "runs n d"]
    values: Float[Tensor, "runs n m"]
    ideal: Float[Tensor, "runs m"]
    shift: Float[Tensor, "runs 1 m"]
    unit: Float[Tensor, "runs 1 m"]

    def corners(self) -> tuple[Float[Tensor, "runs m"], Float[Tensor, "runs m"]]:
        """Lowest and highest values of the data's front, in the units that the networks see.

        Returns
        -------
        lowest, highest
            Over the evaluations that no other one dominates, objective by objective.
        """
        front = nondominated(self.values)[..., None]
        lowest = torch.where(front, self.values, torch.inf).amin(dim=1)
        return lowest, torch.where(front, self.values, -torch.inf).amax(dim=1)

    def lower_bound(
        self, solutions: Float[Tensor, "runs q d"], width: float
    ) -> tuple[Float[Tensor, "runs q m"], Float[Tensor, "runs q m d"]]:
        """Optimistic values V = μ − width·s at solutions, and their gradients.

        Parameters
        ----------
        solutions
            One a row, in [0, 1].
        width
            Standard deviations below the mean.

        Returns
        -------
        values, gradients
            One value an objective, and its gradient in the solution.
        """
        bound, gradient = confidence_bound(self.process, solutions[:, None], -width)
        return self.shift + self.unit * bound.mT, self.unit[..., None] * gradient.transpose(1, 2)

    def lower_values(self, solutions: Float[Tensor, "runs q d"], width: float) -> Float[Tensor, "runs q m"]:
        """Optimistic values as `lower_bound` gives them, without their gradients.

        Parameters
        ----------
        solutions, width
            As there.

        Returns
        -------
        One value an objective.
        """
        mean, std = predict(self.process, solutions[:, None])
        return self.shift + self.unit * (mean - width * std).mT


class ParetoSetModel(nn.Module):
    """Networks that map preferences to solutions, one a run: two hidden layers (ReLU), a sigmoid at the end.

    Parameters
    ----------
    n_objectives
        Length of a preference.
    n_variables
        Length of a solution.
    width
        Units of each hidden layer.
    generators
        Source of the initial weights, one a run. None: one run, from an unseeded generator.
    dtype
        Type of the weights.

    Raises
    ------
    ValueError
        If a size is not positive.

    References
    ----------
    Lin, Yang, Zhang and Zhang (2022), Pareto set learning for expensive multi-objective optimization, Section 3.
    """

    def __init__(
        self,
        n_objectives: int,
        n_variables: int,
        *,
        width: int = 256,
        generators: Sequence[torch.Generator] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, size in {"n_objectives": n_objectives, "n_variables": n_variables, "width": width}.items():
            check_at_least(name, size, 1)
        self.dtype = dtype
        sources = [torch.Generator()] if generators is None else generators
        # One matrix a layer, its last row the bias; run by run, uniform up to 1/√inputs as torch's own layers.
        self.layers = nn.ParameterList()
        for n_in, n_out in ((n_objectives, width), (width, width), (width, n_variables)):
            uniform = torch.stack(
                [torch.rand(n_in + 1, n_out, generator=one, dtype=dtype) for one in sources]
            )
            self.layers.append((2 * uniform - 1) / math.sqrt(n_in))

    def propagate(
        self, preferences: Float[Tensor, "runs n m"]
    ) -> tuple[Float[Tensor, "runs n d"], list[Float[Tensor, "runs n _"]]]:
        """Map preferences to solutions, and keep what `backpropagate` needs.

        Parameters
        ----------
        preferences
            One a row, of any precision.

        Returns
        -------
        solutions, inputs
            Solutions in (0, 1), and the input of each layer with a last column of ones; in the network's precision.
        """
        values, inputs = preferences.to(self.dtype), []
        *hidden, last = self.layers.parameters()
        for layer in hidden:
            inputs.append(functional.pad(values, (0, 1), value=1.0))
            values = torch.relu(torch.bmm(inputs[-1], layer))
        inputs.append(functional.pad(values, (0, 1), value=1.0))
        return torch.sigmoid(torch.bmm(inputs[-1], last)), inputs

    def forward(self, preferences: Float[Tensor, "runs n m"]) -> Float[Tensor, "runs n d"]:
        """Map preferences to solutions.

        Parameters
        ----------
        preferences
            One a row.

        Returns
        -------
        Solutions in (0, 1), in the precision of the preferences.
        """
        return self.propagate(preferences)[0].to(preferences)

    def backpropagate(
        self, inputs: list[Float[Tensor, "runs n _"]], deltas: Float[Tensor, "runs n d"]
    ) -> list[Float[Tensor, "runs n _"]]:
        """Carry a gradient back to the sums of every layer.

        Parameters
        ----------
        inputs
            As `propagate` returns them.
        deltas
            The gradient in the sums before the sigmoid.

        Returns
        -------
        The gradient in the sums of each layer, first to last.
        """
        carried, layers = [deltas], list(self.layers.parameters())
        for values, layer in zip(inputs[:0:-1], layers[:0:-1], strict=True):
            back = torch.bmm(carried[0], layer[:, :-1].mT)
            carried.insert(0, back * (values[..., :-1] > 0))
        return carried


def check_preferences(preferences: Float[Tensor, "runs n m"]) -> None:
    """Refuse preferences that are not on the simplex, zero, or alone.

    Parameters
    ----------
    preferences
        Positive weights of the objectives that add to one, up to the thousandth that keeps them off zero.

    Raises
    ------
    ValueError
        If an entry is not positive, a row does not add to one, or a run has fewer than two rows.
    """
    if preferences.shape[-2] < 2:
        raise ValueError(f"a kernel needs at least 2 preferences; got {preferences.shape[-2]}")
    if not bool((preferences > 0).all()):
        raise ValueError(f"preferences must be positive; got {preferences.min().item():g}")
    error = (preferences.sum(dim=-1) - 1).abs().max().item()
    if not error < 1e-2:
        raise ValueError(f"preferences must add to 1; got a row that is {error:g} away")


def sample_preferences(
    shape: Sequence[int], generators: Sequence[torch.Generator], *, offset: float = 1e-4
) -> Float[Tensor, "runs ..."]:
    """Draw preferences uniformly on the simplex.

    Parameters
    ----------
    shape
        Shape of one run's draws, the number of objectives last.
    generators
        Source of randomness, one a run.
    offset
        Added to every weight: one over a preference must exist.

    Returns
    -------
    The preferences, in double precision, the runs first.
    """
    exponentials = [
        torch.empty(*shape, dtype=torch.float64).exponential_(generator=one) for one in generators
    ]
    drawn = torch.stack(exponentials)
    return drawn / drawn.sum(dim=-1, keepdim=True) + offset


def even_preferences(n_objectives: int, n: int) -> Float[Tensor, "n m"]:
    """Spread preferences evenly over the simplex.

    Parameters
    ----------
    n_objectives
        Two or three.
    n
        Largest number of preferences; with three objectives the finest triangular lattice of at most n points.

    Returns
    -------
    One preference a row, corners included, in double precision.

    Raises
    ------
    ValueError
        If there are neither two nor three objectives.
    """
    if n_objectives == 2:
        first = torch.linspace(0, 1, n, dtype=torch.float64)
        return torch.stack([first, 1 - first], dim=-1)
    if n_objectives != 3:
        raise ValueError(f"n_objectives must be 2 or 3; got {n_objectives}")
    side = math.floor(math.sqrt(2 * n + 0.25) - 1.5)
    points = [(i, j, side - i - j) for i in range(side + 1) for j in range(side + 1 - i)]
    return torch.tensor(points, dtype=torch.float64) / side


# --- The direction -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """How the preferences of a step move the network. The defaults are SVH-PSL's.

    Attributes
    ----------
    scalarisation
        Tchebycheff value max_k r_k (V_k − z_k) ("multiply"), or max_k (V_k − z_k) / r_k ("divide").
    sum_weight
        Weight of the plain sum of the objectives, added to it.
    normalisation
        "coordinate": each parameter's gradients are scaled to unit length over the preferences. "particle": each
        preference's gradient in its solution is.
    kernel
        "local" compares two preferences in the active objective of the second alone, "global" in all; "none" leaves
        them uncoupled.
    repulsion
        α, weight of the kernel's gradient.
    bandwidth
        c, factor of the median bandwidth.
    checkpoint
        Whether the network of the largest hypervolume is kept, and not the last.
    """

    scalarisation: Literal["multiply", "divide"] = "multiply"
    sum_weight: float = 0.0
    normalisation: Literal["coordinate", "particle"] = "coordinate"
    kernel: Literal["local", "global", "none"] = "local"
    repulsion: float = 1e-3
    bandwidth: float = 1.0
    checkpoint: bool = True

    def __post_init__(self) -> None:
        check_positive("bandwidth", self.bandwidth)
        for name, value in (("repulsion", self.repulsion), ("sum_weight", self.sum_weight)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative; got {value}")


SVH_PSL = Method()
UNCOUPLED = replace(SVH_PSL, kernel="none", repulsion=0.0)
PSL_MOBO = Method("divide", 0.01, "particle", "none", 0.0, checkpoint=False)


@dataclass(frozen=True)
class MethodStack:
    """The methods of all runs, as tensors: booleans and numbers, one a run. Make it with `stack_methods`."""

    divides: Bool[Tensor, " runs"]
    sum_weight: Float[Tensor, " runs"]
    by_particle: Bool[Tensor, " runs"]
    coupled: Bool[Tensor, " runs"]
    local: Bool[Tensor, " runs"]
    repulsion: Float[Tensor, " runs"]
    bandwidth: Float[Tensor, " runs"]
    checkpoint: Bool[Tensor, " runs"]


def stack_methods(methods: Sequence[Method], device: torch.device | str = "cpu") -> MethodStack:
    """Stack methods, one a run, so that one call computes the directions of all runs.

    Parameters
    ----------
    methods
        One method a run.
    device
        Where the runs are.

    Returns
    -------
    The stack.

    Raises
    ------
    ValueError
        If there is no method.
    """
    if not methods:
        raise ValueError("methods must not be empty")

    def column(values: Iterable[float | bool]) -> Tensor:
        listed = list(values)
        dtype = torch.bool if isinstance(listed[0], bool) else torch.float64
        return torch.tensor(listed, dtype=dtype, device=device)

    return MethodStack(
        divides=column(method.scalarisation == "divide" for method in methods),
        sum_weight=column(method.sum_weight for method in methods),
        by_particle=column(method.normalisation == "particle" for method in methods),
        coupled=column(method.kernel != "none" for method in methods),
        local=column(method.kernel != "global" for method in methods),
        repulsion=column(method.repulsion for method in methods),
        bandwidth=column(method.bandwidth for method in methods),
        checkpoint=column(method.checkpoint for method in methods),
    )


def tchebycheff(
    values: Float[Tensor, "runs n m"],
    preferences: Float[Tensor, "runs n m"],
    ideal: Float[Tensor, "runs m"],
    divides: Bool[Tensor, " runs"],
) -> tuple[Float[Tensor, "runs n m"], Float[Tensor, "runs n m"]]:
    """Weights of the objectives in the Tchebycheff value, and which objective is active in it.

    Parameters
    ----------
    values
        V.
    preferences
        r.
    ideal
        z.
    divides
        Runs whose weight of an objective is 1/r; it is r in the others.

    Returns
    -------
    weights
        The value is weight·(V − z) of the active objective.
    active
        1 at the objective where that is largest, 0 elsewhere.

    References
    ----------
    Miettinen (1999), Nonlinear multiobjective optimization, Section 3.4.
    """
    weights = torch.where(divides[:, None, None], 1 / preferences, preferences)
    largest = (weights * (values - ideal[:, None, :])).argmax(dim=-1)
    return weights, functional.one_hot(largest, values.shape[-1]).to(values)


def objective_kernel(
    values: Float[Tensor, "runs n m"],
    active: Float[Tensor, "runs n m"],
    local: Bool[Tensor, " runs"],
    bandwidth: Float[Tensor, " runs"],
) -> tuple[Float[Tensor, "runs n n"], Float[Tensor, "runs n m"]]:
    """Kernel K of the preferences in the space of objective values, and the gradient of ΣK there.

    Parameters
    ----------
    values
        V, one row a preference.
    active
        1 at each preference's active objective, 0 elsewhere.
    local
        Runs with the local kernel; the others have the global one.
    bandwidth
        c, the factor of the median bandwidth h = c·median² / log n.

    Returns
    -------
    kernel
        Local: exp(−(V_ik − V_jk)²/h_k), k being the active objective of j; K is not symmetric. Global:
        exp(−‖V_i − V_j‖²/h).
    gradient
        ∂(Σ_ij K_ij)/∂V, through both arguments of the kernel; the bandwidth counts as constant.

    Raises
    ------
    ValueError
        If there are fewer than two preferences.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL, and the authors' code for the bandwidth.
    """
    counted = torch.where(local[:, None, None], active, torch.ones_like(active))[:, None, :, :]
    differences = values[:, :, None, :] - values[:, None, :, :]
    squares = differences.square()
    by_objective = median_bandwidth(squares.movedim(-1, 1), scale=bandwidth[:, None], power=2)
    h = (active * by_objective[:, None, :]).sum(dim=-1)
    if not bool(local.all()):
        jointly = median_bandwidth(squares.sum(dim=-1), scale=bandwidth, power=2)
        h = torch.where(local[:, None], h, jointly[:, None])
    h = h[:, None, :]
    kernel = torch.exp(-(counted * squares).sum(dim=-1) / h)
    slopes = (-2 * kernel / h)[..., None] * counted * differences  # ∂K_ij/∂V_i
    return kernel, slopes.sum(dim=2) - slopes.sum(dim=1)


@dataclass(frozen=True)
class Direction:
    """Direction of one step, an entry a layer.

    Attributes
    ----------
    drive
        (1/n) Σ_j w_j ĝ_j.
    repulsion
        (α/n) ∇ Σ_ij K_ij; empty where no run has one.
    weights
        w_j, how much each preference counts.
    """

    drive: list[Float[Tensor, "runs _ _"]]
    repulsion: list[Float[Tensor, "runs _ _"]]
    weights: Float[Tensor, "runs n"]

    def total(self) -> list[Float[Tensor, "runs _ _"]]:
        """Add drive and repulsion.

        Returns
        -------
        The direction that Adam descends along, an entry a layer.
        """
        if not self.repulsion:
            return self.drive
        return [drive + push for drive, push in zip(self.drive, self.repulsion, strict=True)]

    def repulsion_share(self) -> Float[Tensor, " runs"]:
        """Compare the lengths of repulsion and drive.

        Returns
        -------
        ‖repulsion‖ / ‖drive‖ over all parameters, one a run; 0 where no run has a repulsion.
        """
        if not self.repulsion:
            return torch.zeros_like(self.weights[:, 0])
        drive, repulsion = (
            torch.cat([part.flatten(1) for part in parts], dim=1).norm(dim=1)
            for parts in (self.drive, self.repulsion)
        )
        return (repulsion / drive).to(self.weights)


@torch.no_grad()
def stein_hypernetwork_direction(
    network: ParetoSetModel,
    preferences: Float[Tensor, "runs n m"],
    surrogate: Surrogate,
    methods: MethodStack,
    *,
    confidence: float = 0.1,
) -> Direction:
    """Direction that the network descends along, of all runs.

    Preferences share the network, so SVGD's double sum over pairs collapses: preference j drives with the weight
    w_j = Σ_i K_ij, and the repulsion is the gradient of one number. No gradient of a single preference is formed:
    with inputs a and deltas δ of a layer, Σ_j w_j g_j = aᵀ(w⊙δ) and Σ_j g_j² = (a²)ᵀ(δ²).

    Parameters
    ----------
    network
        The networks.
    preferences
        Preferences of this step, at least two.
    surrogate
        Where their values come from.
    methods
        How they move the network.
    confidence
        β of the lower bound μ − β·s.

    Returns
    -------
    The direction.

    Raises
    ------
    ValueError
        If preferences are not on the simplex, zero, or fewer than two.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL; Lin et al. (2022), PSL-MOBO, for the runs without a kernel.
    """
    check_preferences(preferences)
    n = preferences.shape[1]
    solutions, inputs = network.propagate(preferences)
    values, slopes = surrogate.lower_bound(solutions.to(preferences), confidence)

    # What each preference wants of its solution: the gradient of its Tchebycheff value.
    weights, active = tchebycheff(values, preferences, surrogate.ideal, methods.divides)
    sensitivity = active * weights + methods.sum_weight[:, None, None]
    wishes = (sensitivity[..., None, :] @ slopes)[..., 0, :]
    by_particle = methods.by_particle[:, None, None]
    wishes = torch.where(by_particle, functional.normalize(wishes, dim=-1), wishes)

    # How much each preference counts.
    kernel, away = objective_kernel(values, active, methods.local, methods.bandwidth)
    counts = torch.where(methods.coupled[:, None], kernel.sum(dim=1), 1.0)

    through_sigmoid = solutions * (1 - solutions)
    by_coordinate, shares = (~by_particle).to(solutions), (counts / n)[..., None].to(solutions)
    drive = []
    for layer_inputs, delta in zip(
        inputs, network.backpropagate(inputs, wishes.to(solutions) * through_sigmoid), strict=True
    ):
        length = torch.bmm(layer_inputs.mT.square(), delta.square()).sqrt_().clamp_min_(1e-12)
        length.mul_(by_coordinate).add_(1 - by_coordinate)  # 1 in runs that are not normalised by coordinate
        drive.append(torch.bmm(layer_inputs.mT, shares * delta).div_(length))
    if not bool(methods.repulsion.any()):
        return Direction(drive, [], counts)

    # How they keep apart.
    pushes = methods.repulsion[:, None, None] / n * (away[..., None, :] @ slopes)[..., 0, :]
    deltas = network.backpropagate(inputs, pushes.to(solutions) * through_sigmoid)
    repulsion = [
        torch.bmm(layer_inputs.mT, delta) for layer_inputs, delta in zip(inputs, deltas, strict=True)
    ]
    return Direction(drive, repulsion, counts)


def stein_direction_by_particles(
    network: ParetoSetModel,
    preferences: Float[Tensor, "1 n m"],
    surrogate: Surrogate,
    method: Method,
    *,
    confidence: float = 0.1,
) -> list[Float[Tensor, "1 _ _"]]:
    """SVH-PSL's direction as its authors write and compute it: a gradient for each preference, then all pairs.

    It takes 2n backward passes where `stein_hypernetwork_direction` takes two, and serves as its check.

    Parameters
    ----------
    network
        One network.
    preferences
        Preferences of this step, at least two.
    surrogate
        Where their values come from.
    method
        How they move the network: normalised by coordinate, with a kernel.
    confidence
        β of the lower bound.

    Returns
    -------
    The whole direction, drive and repulsion together, an entry a layer.

    Raises
    ------
    ValueError
        If preferences are not on the simplex, zero, or fewer than two.
    """
    check_preferences(preferences)
    parameters = list(network.layers)
    solutions, _ = network.propagate(preferences)
    at = solutions.detach()
    bound, slopes = surrogate.lower_bound(at.to(preferences), confidence)
    # To first order, so exact where it is differentiated.
    values = (bound + ((solutions - at)[:, :, None, :] * slopes).sum(dim=-1))[0]

    def gradient(number: Tensor) -> Tensor:
        parts = torch.autograd.grad(number, parameters, retain_graph=True, allow_unused=True)
        zipped = zip(parts, parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if part is None else part).flatten() for part, p in zipped])

    n = len(values)
    weights = preferences[0] if method.scalarisation == "multiply" else 1 / preferences[0]
    scalarised, active = (weights * (values - surrogate.ideal)).max(dim=1)
    drives = torch.stack([gradient(scalarised[j] + method.sum_weight * values[j].sum()) for j in range(n)])
    drives = functional.normalize(drives, dim=0)

    squares = (values[:, None] - values).square()
    if method.kernel == "local":
        h = [median_bandwidth(squares[:, :, k], scale=method.bandwidth, power=2) for k in active.tolist()]
        kernel = torch.stack([torch.exp(-squares[:, j, active[j]] / h[j]) for j in range(n)], dim=1)
    else:
        distances = squares.sum(dim=2)
        h = median_bandwidth(distances, scale=method.bandwidth, power=2)
        kernel = torch.exp(-distances / h)
    repulsions = method.repulsion * torch.stack([gradient(kernel[i].sum()) for i in range(n)])
    direction = stein_variational_direction(kernel.detach(), drives, repulsions).sum(dim=0)
    sizes = [parameter.numel() for parameter in parameters]
    return [part.view_as(p) for part, p in zip(direction.split(sizes), parameters, strict=True)]


# --- Learning the set, and choosing from it ------------------------------------------------------------------------


@dataclass(frozen=True)
class LearnedSet:
    """Networks that were trained on a surrogate.

    Attributes
    ----------
    network
        The networks, those of the checkpoint where the method keeps one.
    repulsion_share
        Mean over the checkpoints of ‖repulsion‖ / ‖drive‖, one a run.
    weight_variation
        Mean over the checkpoints of the coefficient of variation of the weights w_j, one a run.
    """

    network: ParetoSetModel
    repulsion_share: Float[Tensor, " runs"]
    weight_variation: Float[Tensor, " runs"]


def learn_pareto_set(
    surrogate: Surrogate,
    methods: Sequence[Method],
    generators: Sequence[torch.Generator],
    *,
    width: int = 256,
    n_steps: int = 1000,
    n_preferences: int = 10,
    learning_rate: float = 1e-3,
    confidence: float = 0.1,
    checkpoint_every: int = 1,
    dtype: torch.dtype = torch.float32,
) -> LearnedSet:
    """Train fresh networks to map preferences to solutions, on surrogates, with Adam.

    Parameters
    ----------
    surrogate
        What the runs know.
    methods
        One method a run.
    generators
        Source of randomness, one a run: runs with equal generators draw equal networks and preferences.
    width
        Units of each hidden layer.
    n_steps
        Steps of Adam.
    n_preferences
        Preferences of a step.
    learning_rate
        Adam's rate.
    confidence
        β of the lower bound.
    checkpoint_every
        Steps between two measurements of the learned front's hypervolume, at 100 even preferences (150 of three
        objectives). The reference is half a unit beyond the data's front.
    dtype
        Type of the networks.

    Returns
    -------
    The trained networks.

    Raises
    ------
    ValueError
        If the lengths of `methods` and `generators` differ, there are fewer than two preferences, or a number is
        not positive.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL; Lin et al. (2022), PSL-MOBO, Algorithm 1.
    """
    if not len(methods) == len(generators) == len(surrogate.ideal):
        raise ValueError(
            f"methods and generators must have one entry a run, {len(surrogate.ideal)}; "
            f"got {len(methods)} and {len(generators)}"
        )
    check_at_least("n_steps", n_steps, 1)
    check_at_least("checkpoint_every", checkpoint_every, 1)
    check_positive("learning_rate", learning_rate)
    ideal, m = surrogate.ideal, surrogate.ideal.shape[-1]
    stack = stack_methods(methods, ideal.device)
    network = ParetoSetModel(
        m, surrogate.solutions.shape[-1], width=width, generators=generators, dtype=dtype
    ).to(ideal.device)
    parameters = list(network.layers)
    optimiser = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    preferences = sample_preferences((n_steps, n_preferences, m), generators).to(ideal.device)

    # The checkpoint, at even preferences and with a reference that does not move.
    reference = surrogate.corners()[1].clamp_min(0) + 0.5
    even = even_preferences(m, 50 * m).to(ideal).expand(len(methods), -1, -1)
    best = [parameter.detach().clone() for parameter in parameters]
    best_volume = ideal.new_full((len(methods),), -1.0)
    shares, variations = [], []

    for step in range(n_steps):
        # Adam descends along the crowd's direction.
        direction = stein_hypernetwork_direction(
            network, preferences[:, step], surrogate, stack, confidence=confidence
        )
        for parameter, whole in zip(parameters, direction.total(), strict=True):
            parameter.grad = whole
        optimiser.step()

        # Keep the network whose optimistic front has the largest hypervolume, or the last.
        if (step + 1) % checkpoint_every == 0 or step + 1 == n_steps:
            with torch.no_grad():
                volume = hypervolume(surrogate.lower_values(network(even), confidence), reference)
            better = volume >= best_volume
            best_volume = torch.where(better, volume, best_volume)
            keep = (better | ~stack.checkpoint)[:, None, None]
            best = [torch.where(keep, new.detach(), old) for new, old in zip(parameters, best, strict=True)]
            shares.append(direction.repulsion_share())
            variations.append(direction.weights.std(dim=1, correction=0) / direction.weights.mean(dim=1))
    with torch.no_grad():
        for parameter, kept in zip(parameters, best, strict=True):
            parameter.copy_(kept)
    return LearnedSet(network, torch.stack(shares).mean(dim=0), torch.stack(variations).mean(dim=0))


def select_batch(
    candidates: Float[Tensor, "runs c m"],
    front: Float[Tensor, "runs n m"],
    reference: Float[Tensor, "runs m"],
    batch_size: int,
) -> Int[Tensor, "runs b"]:
    """Choose candidates one after the other, each the one that adds most hypervolume to the front and those before.

    Parameters
    ----------
    candidates
        Objective values to choose from: one set a run.
    front
        Objective values that are there already.
    reference
        Reference point of the hypervolume.
    batch_size
        How many to choose.

    Returns
    -------
    Indices of the chosen candidates, without repetition.

    Raises
    ------
    ValueError
        If there are fewer candidates than `batch_size`.
    """
    return _select_greedily(candidates[:, None], front, reference, batch_size)


def _select_greedily(
    candidates: Float[Tensor, "runs s c m"], front: Tensor, reference: Tensor, batch_size: int
) -> Int[Tensor, "runs b"]:
    """Greedy choice by the mean improvement over samples of the candidates' values, one run after the other."""
    n_samples, n_candidates = candidates.shape[1:3]
    if not 1 <= batch_size <= n_candidates:
        raise ValueError(f"batch_size must be between 1 and the candidates, {n_candidates}; got {batch_size}")
    chosen = []
    for values, known, corner in zip(candidates, front, reference, strict=True):
        known = known[nondominated(known)].expand(n_samples, -1, -1)
        taken = []
        for _ in range(batch_size):
            gain = hypervolume_improvement(values, known, corner).mean(dim=0)
            gain[taken] = -1.0
            taken.append(int(gain.argmax()))
            known = torch.cat([known, values[:, taken[-1:]]], dim=1)
        chosen.append(taken)
    return torch.tensor(chosen, device=candidates.device)


@dataclass(frozen=True)
class Proposal:
    """Solutions to evaluate next.

    Attributes
    ----------
    solutions
        The batch.
    learned
        What trained them, where a network did.
    """

    solutions: Float[Tensor, "runs b d"]
    learned: LearnedSet | None = None


Acquisition = Callable[[Surrogate, Sequence[torch.Generator], int], Proposal]


def acquire_from_pareto_set(
    surrogate: Surrogate,
    generators: Sequence[torch.Generator],
    batch_size: int,
    *,
    methods: Sequence[Method],
    n_candidates: int = 1000,
    confidence: float = 0.1,
    **training: Any,
) -> Proposal:
    """Learn the Pareto set on the surrogate, draw candidates from it, and keep those of most hypervolume.

    Parameters
    ----------
    surrogate
        What the runs know.
    generators
        Source of randomness, one a run.
    batch_size
        Solutions to propose.
    methods
        One method a run.
    n_candidates
        Preferences whose solutions are compared.
    confidence
        β of the lower bound, in the training and in the comparison.
    **training
        Further arguments of `learn_pareto_set`.

    Returns
    -------
    The batch, and the trained networks.

    Raises
    ------
    ValueError
        As `learn_pareto_set` and `select_batch`.

    References
    ----------
    Lin et al. (2022), PSL-MOBO, Section 4 (batch selection on the learned set).
    """
    learned = learn_pareto_set(surrogate, methods, generators, confidence=confidence, **training)
    preferences = sample_preferences((n_candidates, surrogate.ideal.shape[-1]), generators)
    with torch.no_grad():
        solutions = learned.network(preferences.to(surrogate.ideal))
    values = surrogate.lower_values(solutions, confidence)
    reference = torch.maximum(surrogate.corners()[1], values.amax(dim=1))
    chosen = select_batch(values, surrogate.values, reference, batch_size)
    return Proposal(solutions.gather(1, chosen[..., None].expand(-1, -1, solutions.shape[-1])), learned)


def acquire_by_expected_improvement(
    surrogate: Surrogate,
    generators: Sequence[torch.Generator],
    batch_size: int,
    *,
    pool_size: int = 400,
    n_samples: int = 32,
) -> Proposal:
    """Choose from a random pool, greedily, by the expected hypervolume improvement of joint posterior samples.

    Half the pool is uniform; the other half perturbs non-dominated solutions, each coordinate with probability ½ by
    a normal step of standard deviation 0.02, 0.1 or 0.3.

    Parameters
    ----------
    surrogate
        What the runs know.
    generators
        Source of randomness, one a run.
    batch_size
        Solutions to propose.
    pool_size
        Solutions to choose from.
    n_samples
        Joint samples of the objectives at the pool.

    Returns
    -------
    The batch.

    Raises
    ------
    ValueError
        If the pool is smaller than `batch_size`.

    References
    ----------
    Daulton, Balandat and Bakshy (2020), Differentiable expected hypervolume improvement, Section 3.
    """
    front = nondominated(surrogate.values)
    m, d = surrogate.ideal.shape[-1], surrogate.solutions.shape[-1]
    half = pool_size // 2
    pools, normals = [], []
    for run, generator in enumerate(generators):
        known = surrogate.solutions[run, front[run]].cpu()
        centres = known[torch.randint(len(known), (half,), generator=generator)]
        scales = torch.tensor([0.02, 0.1, 0.3]).double()[torch.randint(3, (half, 1), generator=generator)]
        moved = torch.rand(half, d, generator=generator) < 0.5
        steps = scales * torch.randn(half, d, generator=generator, dtype=torch.float64)
        uniform = torch.rand(pool_size - half, d, generator=generator, dtype=torch.float64)
        pools.append(torch.cat([uniform, (centres + moved * steps).clamp(0, 1)]))
        normals.append(torch.randn(m, n_samples, pool_size, generator=generator, dtype=torch.float64))
    pool = torch.stack(pools).to(surrogate.solutions)
    samples = sample_jointly(surrogate.process, pool[:, None], torch.stack(normals).to(pool)).permute(
        0, 2, 3, 1
    )
    samples = surrogate.shift[:, None] + surrogate.unit[:, None] * samples
    lowest, highest = surrogate.corners()
    reference = highest + (0.1 * (highest - lowest)).clamp_min(0.5)
    chosen = _select_greedily(samples, surrogate.values, reference, batch_size)
    return Proposal(pool.gather(1, chosen[..., None].expand(-1, -1, d)))


# --- The loop ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """What the runs of an optimisation did.

    Attributes
    ----------
    solutions, objectives
        All evaluations in order, the objectives scaled.
    n_evaluations
        Evaluations after the initial design and after each batch.
    hypervolume
        Hypervolume of the scaled objectives evaluated by then, within the problem's reference.
    surrogate
        The last surrogate, of the data before the last batch.
    learned
        What was trained on it, where a network was.
    repulsion_share, weight_variation
        Their means over the iterations, where networks were trained (see `LearnedSet`).
    """

    solutions: Float[Tensor, "runs n d"]
    objectives: Float[Tensor, "runs n m"]
    n_evaluations: Int[np.ndarray, " batches"]
    hypervolume: Float[Tensor, "runs batches"]
    surrogate: Surrogate
    learned: LearnedSet | None
    repulsion_share: Float[Tensor, " runs"] | None
    weight_variation: Float[Tensor, " runs"] | None


def latin_hypercube(n: int, n_variables: int, seeds: Sequence[int]) -> Float[Tensor, "runs n d"]:
    """Draw Latin hypercubes, one a seed.

    Parameters
    ----------
    n
        Number of points.
    n_variables
        Dimension of the cube.
    seeds
        One seed a run.

    Returns
    -------
    Points in the unit cube, in double precision.
    """
    designs = [qmc.LatinHypercube(n_variables, rng=np.random.default_rng(seed)).random(n) for seed in seeds]
    return torch.as_tensor(np.stack(designs))


def fit_surrogate(
    solutions: Float[Tensor, "runs n d"],
    objectives: Float[Tensor, "runs n m"],
    *,
    standardise: bool | Sequence[bool] = True,
    previous: Surrogate | None = None,
    n_steps: int = 120,
) -> Surrogate:
    """Fit a Gaussian process to each objective of each run.

    Parameters
    ----------
    solutions, objectives
        The evaluations.
    standardise
        Whether the networks see each objective at mean 0 and standard deviation 1 over the data, or in its own
        units, as the processes never do. One answer, or one a run.
    previous
        The surrogate of fewer evaluations: its kernels are where the fit starts, its ideal point is kept if lower.
    n_steps
        Steps of the fit.

    Returns
    -------
    The surrogate.

    Raises
    ------
    ValueError
        If an objective is constant on the data.
    """
    mean = objectives.mean(dim=1, keepdim=True)
    std = objectives.std(dim=1, keepdim=True, correction=0)
    if not bool((std > 0).all()):
        run, _, k = (std == 0).nonzero()[0].tolist()
        raise ValueError(
            f"objectives must vary; got objective {k} constant on the initial design of run {run}"
        )
    standardised = (objectives - mean) / std
    process = fit_gaussian_process(
        solutions[:, None],
        standardised.mT,
        start=None if previous is None else previous.process.parameters,
        n_steps=n_steps,
    )
    scaled = torch.tensor(standardise, device=mean.device).expand(len(mean))[:, None, None]
    shift, unit = torch.where(scaled, 0.0, mean), torch.where(scaled, 1.0, std)
    values = shift + unit * standardised
    ideal = torch.zeros_like(values[:, 0]) if previous is None else previous.ideal
    ideal = torch.minimum(ideal, values.amin(dim=1) - 0.1)
    return Surrogate(process, solutions, values, ideal, shift, unit)


def optimise(
    problem: Problem,
    acquire: Acquisition,
    seeds: Sequence[int],
    *,
    n_initial: int = 20,
    n_iterations: int = 20,
    batch_size: int = 5,
    standardise: bool | Sequence[bool] = True,
    n_fit_steps: tuple[int, int] = (120, 50),
    device: torch.device | str = "cpu",
    iterations: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Trace:
    """Optimise a problem of expensive objectives: a Latin hypercube, then batches from surrogates.

    Parameters
    ----------
    problem
        What is optimised.
    acquire
        ``acquire(surrogate, generators, batch_size)``: the next batch of every run.
    seeds
        One seed a run. Runs with the same seed share the initial design, the networks' first weights and all
        draws: give several methods the same seeds to compare them in pairs.
    n_initial
        Size of the initial design.
    n_iterations
        Number of batches.
    batch_size
        Evaluations of each.
    standardise
        Whether the networks see objectives of mean 0 and standard deviation 1, or in their own units; one answer,
        or one a run.
    n_fit_steps
        Steps of the first fit of the Gaussian processes, and of each later one, which starts where the last ended.
    device
        Where the surrogates and networks are.
    iterations
        Wraps the iterations: a progress bar.

    Returns
    -------
    The trace.

    Raises
    ------
    ValueError
        If there is no seed, a number is not positive, the initial design has fewer than two points, or an
        evaluation is not finite.

    Warns
    -----
    UserWarning
        If no evaluation of a run dominates the problem's reference point: its hypervolume says nothing.

    References
    ----------
    Lin et al. (2022), PSL-MOBO, Algorithm 1; Nguyen et al. (2025), SVH-PSL.
    """
    if not seeds:
        raise ValueError("seeds must not be empty")
    check_at_least("n_initial", n_initial, 2)
    check_at_least("n_iterations", n_iterations, 1)
    check_at_least("batch_size", batch_size, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    solutions = latin_hypercube(n_initial, problem.n_variables, seeds).to(device)
    objectives = problem.evaluate(solutions)
    reference = objectives.new_tensor(problem.reference)
    volumes, learned, surrogate = [hypervolume(objectives, reference)], [], None
    for iteration in iterations(range(n_iterations)):
        # Surrogates of all evaluations, a batch that is best on them, its evaluation.
        surrogate = fit_surrogate(
            solutions,
            objectives,
            standardise=standardise,
            previous=surrogate,
            n_steps=n_fit_steps[min(iteration, 1)],
        )
        proposal = acquire(surrogate, generators, batch_size)
        solutions = torch.cat([solutions, proposal.solutions], dim=1)
        objectives = torch.cat([objectives, problem.evaluate(proposal.solutions)], dim=1)
        volumes.append(hypervolume(objectives, reference))
        learned += [proposal.learned] if proposal.learned is not None else []
    n_empty = int((volumes[-1] == 0).sum())
    if n_empty:
        message = (
            f"no evaluation of {n_empty} of {len(seeds)} runs dominates the reference {problem.reference}"
        )
        warnings.warn(message, stacklevel=2)
    return Trace(
        solutions,
        objectives,
        n_initial + batch_size * np.arange(n_iterations + 1),
        torch.stack(volumes, dim=1),
        surrogate,
        learned[-1] if learned else None,
        torch.stack([one.repulsion_share for one in learned]).mean(dim=0) if learned else None,
        torch.stack([one.weight_variation for one in learned]).mean(dim=0) if learned else None,
    )

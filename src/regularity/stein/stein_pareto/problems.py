"""What the chapter optimises, and what it trains: test problems, surrogates, and the networks on them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import qmc
from torch import Tensor, nn
from torch.nn import functional

from regularity.foundations.checks import as_floats, as_unit_interval, check_at_least
from regularity.foundations.gaussian_processes import (
    GaussianProcess,
    confidence_bound,
    fit_gaussian_process,
    predict,
)
from regularity.foundations.metrics import nondominated

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
        """Scale objective values, so that the ideal point is 0 and the nadir 1."""
        ideal, nadir = values.new_tensor(self.ideal), values.new_tensor(self.nadir)
        return (values - ideal) / (nadir - ideal)

    def evaluate(self, solutions: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch n m"]:
        """Evaluate solutions, one a row, in [0, 1]; the objectives come out scaled.

        Raises
        ------
        ValueError
            If there is no solution, one has the wrong length or lies outside the cube by more than rounding, or an
            evaluation is not finite.
        """
        if solutions.shape[-1] != self.n_variables:
            raise ValueError(f"solutions must have {self.n_variables} variables; got {solutions.shape[-1]}")
        values = self.scale(self.objectives(as_unit_interval("solutions", solutions)))
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
        """Lowest and highest values of the data's front, objective by objective."""
        front = nondominated(self.values)[..., None]
        lowest = torch.where(front, self.values, torch.inf).amin(dim=1)
        return lowest, torch.where(front, self.values, -torch.inf).amax(dim=1)

    def lower_bound(
        self, solutions: Float[Tensor, "runs q d"], width: float
    ) -> tuple[Float[Tensor, "runs q m"], Float[Tensor, "runs q m d"]]:
        """Optimistic values V = μ − width·s at solutions, and their gradients."""
        bound, gradient = confidence_bound(self.process, solutions[:, None], -width)
        return self.shift + self.unit * bound.mT, self.unit[..., None] * gradient.transpose(1, 2)

    def lower_values(self, solutions: Float[Tensor, "runs q d"], width: float) -> Float[Tensor, "runs q m"]:
        """Optimistic values as `lower_bound` gives them, without their gradients."""
        mean, std = predict(self.process, solutions[:, None])
        return self.shift + self.unit * (mean - width * std).mT


def latin_hypercube(n: int, n_variables: int, seeds: Sequence[int]) -> Float[Tensor, "runs n d"]:
    """Draw n points of the unit cube as a Latin hypercube for each seed, in double precision."""
    designs = [qmc.LatinHypercube(n_variables, rng=np.random.default_rng(seed)).random(n) for seed in seeds]
    return torch.as_tensor(np.stack(designs))


def fit_surrogate(
    solutions: Float[Tensor, "runs n d"],
    objectives: Float[Tensor, "runs n m"],
    *,
    standardise: bool = True,
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
        units, as the processes never do.
    previous
        The surrogate of fewer evaluations: its kernels are where the fit starts, its ideal point is kept if lower.
    n_steps
        Steps of the fit.

    Raises
    ------
    ValueError
        If there are no evaluations, a number is not finite, a solution is not in [0, 1], or an objective is constant
        on the data, up to rounding.
    """
    solutions, objectives = as_floats(solutions=solutions, objectives=objectives)
    solutions = as_unit_interval("solutions", solutions)
    mean = objectives.mean(dim=1, keepdim=True)
    std = objectives.std(dim=1, keepdim=True, correction=0)
    constant = std <= 4 * torch.finfo(std.dtype).eps * mean.abs()
    if bool(constant.any()):
        run, _, k = constant.nonzero()[0].tolist()
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
    shift, unit = (torch.zeros_like(mean), torch.ones_like(std)) if standardise else (mean, std)
    values = shift + unit * standardised
    ideal = torch.zeros_like(values[:, 0]) if previous is None else previous.ideal
    ideal = torch.minimum(ideal, values.amin(dim=1) - 0.1)
    return Surrogate(process, solutions, values, ideal, shift, unit)


class ParetoSetModel(nn.Module):
    """Networks that map preferences to solutions, one a run: two hidden layers (ReLU), a sigmoid at the end.

    Parameters
    ----------
    n_objectives, n_variables
        Lengths of a preference and of a solution.
    generators
        Source of the initial weights, one a run.
    width
        Units of each hidden layer.
    dtype
        Type of the weights.

    Raises
    ------
    ValueError
        If a size is not positive, or there is no generator.

    References
    ----------
    Lin, Yang, Zhang and Zhang (2022), Pareto set learning for expensive multi-objective optimization (its code).
    """

    def __init__(
        self,
        n_objectives: int,
        n_variables: int,
        generators: Sequence[torch.Generator],
        *,
        width: int = 256,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, size in {"n_objectives": n_objectives, "n_variables": n_variables, "width": width}.items():
            check_at_least(name, size, 1)
        if not generators:
            raise ValueError("generators must not be empty")
        self.dtype = dtype
        # One matrix a layer, its last row the bias; run by run, uniform up to 1/√inputs as torch's own layers.
        self.layers = nn.ParameterList()
        for n_in, n_out in ((n_objectives, width), (width, width), (width, n_variables)):
            uniform = torch.stack(
                [torch.rand(n_in + 1, n_out, generator=one, dtype=dtype) for one in generators]
            )
            self.layers.append((2 * uniform - 1) / math.sqrt(n_in))

    def propagate(
        self, preferences: Float[Tensor, "runs n m"]
    ) -> tuple[Float[Tensor, "runs n d"], list[Float[Tensor, "runs n _"]]]:
        """Map preferences to solutions, and keep each layer's input, with a last column of ones."""
        values, inputs = preferences.to(self.dtype), []
        *hidden, last = self.layers.parameters()
        for layer in hidden:
            inputs.append(functional.pad(values, (0, 1), value=1.0))
            values = torch.relu(torch.bmm(inputs[-1], layer))
        inputs.append(functional.pad(values, (0, 1), value=1.0))
        return torch.sigmoid(torch.bmm(inputs[-1], last)), inputs

    def forward(self, preferences: Float[Tensor, "runs n m"]) -> Float[Tensor, "runs n d"]:
        """Map preferences to solutions in (0, 1), in the precision of the preferences."""
        return self.propagate(preferences)[0].to(preferences)

    def backpropagate(
        self, inputs: list[Float[Tensor, "runs n _"]], deltas: Float[Tensor, "runs n d"]
    ) -> list[Float[Tensor, "runs n _"]]:
        """Carry a gradient in the sums before the sigmoid back to the sums of every layer, first to last.

        `inputs` are those that `propagate` kept.
        """
        carried, layers = [deltas], list(self.layers.parameters())
        for values, layer in zip(inputs[:0:-1], layers[:0:-1], strict=True):
            back = torch.bmm(carried[0], layer[:, :-1].mT)
            carried.insert(0, back * (values[..., :-1] > 0))
        return carried

"""Two networks of two layers with their norms, and the problems that they are trained on."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.dynamics.dynamical_stability.method import Parameters
from regularity.foundations.checks import as_floats, check_at_least

# --- Networks: problems along the first axis of everything, learning rates along the second ------------------------


class DiagonalNetwork:
    """f(x) = Σ a_j b_j x_j: a linear model whose weights β = ab are products."""

    def start(self, n_problems: int, n_inputs: int, generator: torch.Generator) -> Parameters:
        """Standard normal a and b: (problems, 1, d) each."""
        shape = n_problems, 1, n_inputs
        return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)

    def predict(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Predictions (problems, rates, n)."""
        inner, outer = parameters
        return torch.bmm(inner * outer, inputs.mT)

    def gradient(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Parameters:
        """Gradient of half the mean squared error."""
        inner, outer = parameters
        residuals = (self.predict(parameters, inputs) - targets[:, None]) / inputs.shape[1]
        slopes = torch.bmm(residuals, inputs)
        return slopes * outer, slopes * inner

    def trace(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Trace of the Gram matrix."""
        inner, outer = parameters
        return (self._weights(inner, outer) * inputs.square().mean(dim=1, keepdim=True)).sum(dim=-1)

    def gram(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Gram matrix K, (problems, rates, n, n), in double precision."""
        inner, outer = (layer.double() for layer in parameters)
        scaled = inputs.double()[:, None] * self._weights(inner, outer)[:, :, None].sqrt()
        return scaled @ scaled.mT / inputs.shape[1]

    def norms(self, parameters: Parameters, variance: float = 1 / 3) -> dict[str, Tensor]:
        """What the sharpness is equivalent to, for independent inputs of one variance."""
        weights = variance * self._weights(*parameters)
        sizes = {"trace": 1.0, "frobenius": 2.0, "spectral": float("inf")}
        return {name: torch.linalg.vector_norm(weights, order, dim=-1) for name, order in sizes.items()}

    def effective_norm(self, parameters: Parameters) -> Tensor:
        """Norm Σ|β_j| of the effective weights."""
        inner, outer = parameters
        return (inner * outer).abs().sum(dim=-1)

    @staticmethod
    def _weights(inner: Tensor, outer: Tensor) -> Tensor:
        return inner.square() + outer.square()


class ReluNetwork:
    """f(x) = Σ a_j max(0, w_j·x), with `n_neurons` neurons."""

    def __init__(self, n_neurons: int) -> None:
        check_at_least("n_neurons", n_neurons, 1)
        self.n_neurons = n_neurons

    def start(self, n_problems: int, n_inputs: int, generator: torch.Generator) -> Parameters:
        """Standard normal a, and w of length about one: (problems, 1, m, d) and (problems, 1, m)."""
        shape = n_problems, 1, self.n_neurons
        inner = torch.randn(*shape, n_inputs, generator=generator) / n_inputs**0.5
        return inner, torch.randn(shape, generator=generator)

    def predict(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Predictions (problems, rates, n)."""
        inner, outer = parameters
        return (outer[:, :, None] @ self._before(inner, inputs).relu())[:, :, 0]

    def gradient(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Parameters:
        """Gradient of half the mean squared error."""
        inner, outer = parameters
        before = self._before(inner, inputs)
        hidden = before.relu()
        residuals = ((outer[:, :, None] @ hidden)[:, :, 0] - targets[:, None]) / inputs.shape[1]
        slopes = (outer[..., None] * residuals[:, :, None]) * (before > 0)
        back = torch.bmm(slopes.flatten(1, 2), inputs).reshape(inner.shape)
        return back, (hidden @ residuals[..., None])[..., 0]

    def trace(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Trace of the Gram matrix."""
        inner, outer = parameters
        before = self._before(inner, inputs)
        lengths = inputs.square().sum(dim=-1)[:, None, None]
        each = before.relu().square() + outer[..., None].square() * (before > 0) * lengths
        return each.sum(dim=2).mean(dim=-1)

    def gram(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Gram matrix K, (problems, rates, n, n), in double precision."""
        inner, outer = (layer.double() for layer in parameters)
        inputs = inputs.double()
        before = self._before(inner, inputs)
        hidden, open_ = before.relu(), outer[..., None] * (before > 0)
        similar = (inputs @ inputs.mT)[:, None]
        return (hidden.mT @ hidden + (open_.mT @ open_) * similar) / inputs.shape[1]

    def norms(self, parameters: Parameters) -> dict[str, Tensor]:
        """What the sharpness is equivalent to, for inputs of length √d in all directions."""
        inner, outer = parameters
        first, second = inner.square().sum(dim=(-2, -1)), outer.square().sum(dim=-1)
        powers = {"trace": 1.0, "frobenius": 0.5, "spectral": 0.0}
        return {name: (first + inner.shape[-1] ** power * second) / 2 for name, power in powers.items()}

    def effective_norm(self, parameters: Parameters) -> Tensor:
        """Path norm Σ|a_j|‖w_j‖."""
        inner, outer = parameters
        return (outer.abs() * inner.norm(dim=-1)).sum(dim=-1)

    @staticmethod
    def _before(inner: Tensor, inputs: Tensor) -> Tensor:
        """What enters the neurons: (problems, rates, m, n)."""
        return torch.bmm(inner.flatten(1, 2), inputs.mT).reshape(*inner.shape[:3], inputs.shape[1])


# --- Problems -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Inputs and targets of several problems."""

    inputs: Float[Tensor, "problems n d"]
    targets: Float[Tensor, "problems n"]

    def to(self, device: torch.device) -> "Sample":
        """Move to a device."""
        return Sample(self.inputs.to(device), self.targets.to(device))


def sparse_regression(
    n_problems: int, n_samples: int, n_inputs: int, generator: torch.Generator, *, n_relevant: int = 3
) -> Sample:
    """Draw inputs uniform on [−1, 1]^d, and add up the first few: noiseless targets, variance n_relevant/3."""
    if not 1 <= n_relevant <= n_inputs:
        raise ValueError(f"n_relevant must be between 1 and n_inputs={n_inputs}; got {n_relevant}")
    inputs = 2 * torch.rand(n_problems, n_samples, n_inputs, generator=generator) - 1
    return Sample(inputs, inputs[..., :n_relevant].sum(dim=-1))


def teacher_directions(n_problems: int, n_teachers: int, n_inputs: int, generator: torch.Generator) -> Tensor:
    """Draw the unit vectors of the neurons that make the targets: (problems, k, d)."""
    directions = torch.randn(n_problems, n_teachers, n_inputs, generator=generator)
    return directions / directions.norm(dim=-1, keepdim=True)


def teacher_regression(
    directions: Float[Tensor, "problems k d"], n_samples: int, generator: torch.Generator
) -> Sample:
    """Draw inputs of length √d in all directions; targets are the sum of the teachers' ReLUs."""
    check_at_least("n_samples", n_samples, 1)
    (directions,) = as_floats(directions=directions)
    if float((directions.norm(dim=-1) - 1).abs().max()) > 1e-3:
        raise ValueError(
            f"directions must be unit vectors; got lengths up to {directions.norm(dim=-1).max():g}"
        )
    n_problems, _, n_inputs = directions.shape
    inputs = torch.randn(n_problems, n_samples, n_inputs, generator=generator)
    inputs = n_inputs**0.5 * inputs / inputs.norm(dim=-1, keepdim=True)
    return Sample(inputs, (inputs @ directions.to(inputs).mT).relu().sum(dim=-1))

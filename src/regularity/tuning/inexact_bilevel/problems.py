"""Four problems, each of which bounds its own derivatives, so that every accuracy is certified and none is estimated.

A quadratic with everything in closed form, denoising by total variation and by a field of experts, and softmax
regression. What their methods mean is said in `BilevelProblem`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, cross_entropy, one_hot

from regularity.foundations.noise import standard_normal_like
from regularity.foundations.proximal import divergence, forward_gradient

# --- What is asked of a problem ----------------------------------------------------------------------------------


class Curvature(NamedTuple):
    """Bounds on the eigenvalues of A = ∂²h/∂x² over all x: μ·I ≤ A ≤ L·I."""

    convexity: float
    smoothness: float


class Sensitivity(NamedTuple):
    """Bounds for all x' within a radius of x: on ‖B(x')‖, ‖(B(x') − B(x))ᵀq‖/‖x' − x‖, ‖(A(x') − A(x))q‖/‖x' − x‖."""

    cross_norm: float
    cross_change: float
    hessian_change: float


@runtime_checkable
class BilevelProblem(Protocol):
    """What the algorithms ask of a problem; x and θ are tensors of any shape.

    Attributes
    ----------
    upper_smoothness
        Lipschitz constant L_g of ∇g. The upper objective g must be convex.
    """

    upper_smoothness: float

    def curvature(self, theta: Tensor) -> Curvature:
        """Bound the lower level's curvature: μ and L."""

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """Bound B = ∂²h/∂x∂θ, and how fast Bᵀq and Aq change for the adjoint q, within a radius of x."""

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """Gradient of the lower objective, ∂h/∂x."""

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """Hessian of the lower objective, as the product v ↦ A v."""

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """Product Bᵀq with the mixed derivative."""

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """Upper objective and its gradient, g(x) and ∇g(x)."""


# --- Four of them ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuadraticProblem:
    """h = ½‖A₂x + A₃θ − b₂‖² and g = ½‖A₁x − b₁‖²: everything has a closed form.

    Attributes
    ----------
    first, second, third
        A₁ (m, d), A₂ (m, d) and A₃ (m, p).
    first_right, second_right
        b₁ and b₂.
    """

    first: Float[Tensor, "m d"]
    second: Float[Tensor, "m d"]
    third: Float[Tensor, "m p"]
    first_right: Float[Tensor, " m"]
    second_right: Float[Tensor, " m"]

    @cached_property
    def gram(self) -> Float[Tensor, "d d"]:
        """A₂ᵀA₂."""
        return self.second.T @ self.second

    @cached_property
    def mixed(self) -> Float[Tensor, "d p"]:
        """A₂ᵀA₃, which is B."""
        return self.second.T @ self.third

    @cached_property
    def upper_smoothness(self) -> float:
        """‖A₁‖²."""
        return torch.linalg.matrix_norm(self.first, 2).item() ** 2

    @cached_property
    def _bounds(self) -> Curvature:
        eigenvalues = torch.linalg.eigvalsh(self.gram)
        return Curvature(eigenvalues[0].item(), eigenvalues[-1].item())

    @cached_property
    def _cross_norm(self) -> float:
        return torch.linalg.matrix_norm(self.mixed, 2).item()

    @cached_property
    def _target(self) -> Tensor:
        return self.second.T @ self.second_right

    def curvature(self, theta: Tensor) -> Curvature:
        """The extreme eigenvalues of A₂ᵀA₂."""
        return self._bounds

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """A and B do not change."""
        return Sensitivity(self._cross_norm, 0.0, 0.0)

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """A₂ᵀ(A₂x + A₃θ − b₂)."""
        return self.gram @ x + self.mixed @ theta - self._target

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The product with A₂ᵀA₂."""
        return lambda vector: self.gram @ vector

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """A₃ᵀA₂q."""
        return self.mixed.T @ adjoint

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """½‖A₁x − b₁‖² and its gradient."""
        residual = self.first @ x - self.first_right
        return residual.square().sum().item() / 2, self.first.T @ residual

    def minimiser(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " d"]:
        """Compute x̂(θ) by LAPACK."""
        return torch.linalg.solve(self.gram, self._target - self.mixed @ theta)

    def exact_hypergradient(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Compute ∇f(θ) by LAPACK."""
        return -self.mixed.T @ torch.linalg.solve(self.gram, self.upper(self.minimiser(theta))[1])

    def best_theta(self) -> Float[Tensor, " p"]:
        """Minimise f by least squares in θ."""
        slope = -torch.linalg.solve(self.gram, self.mixed)
        offset = self.minimiser(torch.zeros_like(slope[0]))
        return torch.linalg.lstsq(self.first @ slope, self.first_right - self.first @ offset).solution


_LARGEST_LOGARITHM = 15.0  # parameters in logarithms saturate here, so that no step overflows


def _inverse_root(ratio: Tensor) -> Tensor:
    """(1 + t²)^(−½)."""
    return (1 + ratio**2).rsqrt_()


def _exponential(logarithms: Tensor) -> Tensor:
    return logarithms.clamp(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM).exp()


@dataclass(frozen=True)
class DenoisingProblem:
    """h = ½‖x − y‖² + Σᵢ wᵢ Σ φᵢ(Kᵢx) over a stack of images, and g = ½‖x − x*‖² over their number.

    The Kᵢ are linear, φᵢ(s) = √(s² + νᵢ²), and θ holds the logarithms of 2wᵢ and νᵢ, and perhaps the Kᵢ. An ε is a
    distance between whole stacks. `TotalVariation` and `FieldOfExperts` say what the Kᵢ are.

    Attributes
    ----------
    noisy, clean
        y and x*.
    """

    noisy: Float[Tensor, "n 1 h w"]
    clean: Float[Tensor, "n 1 h w"]

    def __post_init__(self) -> None:
        if self.noisy.shape != self.clean.shape:
            given = f"{tuple(self.noisy.shape)} and {tuple(self.clean.shape)}"
            raise ValueError(f"noisy and clean must have one shape; got {given}")

    @property
    def upper_smoothness(self) -> float:
        """One over the number of images."""
        return 1 / len(self.noisy)

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """Half the squared error, summed over pixels, a mean over the images."""
        error = x - self.clean
        return torch.dot(error.flatten(), error.flatten()).item() / (2 * len(x)), error / len(x)

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """x − y + Σ wᵢ Kᵢᵀφᵢ'(Kᵢx)."""
        (weights, smoothing), kernels = self._scales(theta), self._kernels(theta)
        response = self._analyse(x, kernels)
        slopes = response * torch.addcmul(smoothing**2, response, response).rsqrt_()
        return self._synthesise(slopes.mul_(weights), kernels).add_(x).sub_(self.noisy)

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """I + Σ wᵢ Kᵢᵀ diag(φᵢ'') Kᵢ."""
        (weights, smoothing), kernels = self._scales(theta), self._kernels(theta)
        response = self._analyse(x, kernels)
        curvatures = weights * smoothing**2 * torch.addcmul(smoothing**2, response, response).rsqrt_() ** 3
        return lambda v: self._synthesise(curvatures * self._analyse(v, kernels), kernels).add_(v)

    def _extremes(
        self, x: Tensor, theta: Tensor, row_norms: float | Tensor, radius: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Kᵢx/νᵢ, and the largest second and third derivatives of φᵢ within a radius of x, where Kᵢ has such rows.

        In units of t = s/ν they are (1 + t²)^(−3/2)/ν, which falls, and 3t(1 + t²)^(−5/2)/ν², which rises to t = ½.
        """
        smoothing = self._scales(theta)[1]
        ratio, reach = self._analyse(x, self._kernels(theta)) / smoothing, row_norms * radius / smoothing
        low = (ratio.abs() - reach).clamp_min(0)
        steepest = torch.full_like(low, 0.5).clamp(low, ratio.abs() + reach)
        bending = 3 * steepest * _inverse_root(steepest) ** 2 * _inverse_root(steepest) ** 3 / smoothing**2
        return ratio, _inverse_root(low) ** 3 / smoothing, bending

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """The gradient of ⟨∂h/∂x, q⟩ in θ, by automatic differentiation."""

        def along(parameters: Tensor) -> Tensor:
            weights, smoothing = self._scales(parameters)
            kernels = self._kernels(parameters)
            response = self._analyse(x, kernels)
            slopes = weights * response * (response**2 + smoothing**2).rsqrt()
            return (slopes * self._analyse(adjoint, kernels)).sum()

        with torch.enable_grad():
            parameters = theta.detach().requires_grad_()
            return torch.autograd.grad(along(parameters), parameters)[0]


class TotalVariation(DenoisingProblem):
    """Smoothed anisotropic total variation; θ holds two logarithms, of twice the weight and of the smoothing."""

    def _scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        weight, smoothing = _exponential(theta)
        return weight / 2, smoothing

    def _kernels(self, theta: Tensor) -> None:
        """Differences have nothing to learn."""

    def _analyse(self, x: Tensor, kernels: None) -> Tensor:
        return forward_gradient(x[:, 0], 2)

    def _synthesise(self, field: Tensor, kernels: None) -> Tensor:
        return -divergence(field, 2)[:, None]

    def curvature(self, theta: Tensor) -> Curvature:
        """The differences have squared norm 8 at most, and φ'' ≤ 1/ν."""
        weight, smoothing = (scale.item() for scale in self._scales(theta))
        return Curvature(1.0, 1 + 8 * weight / smoothing)

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """B has two columns, and D, the differences, have ‖D‖² ≤ 8 and rows of norm √2."""
        weight, smoothing = (scale.item() for scale in self._scales(theta))
        ratio, curvatures, bending = self._extremes(x, theta, math.sqrt(2), radius)
        response = self._analyse(adjoint, None)
        columns = [self._synthesise(ratio * _inverse_root(ratio) ** power, None) for power in (1, 3)]
        norm = weight * torch.stack(columns).norm().item()
        return Sensitivity(
            norm + math.sqrt(5) * 8 * weight / smoothing * radius,
            math.sqrt(5 * 8) * weight * (curvatures * response).norm().item(),
            8 * weight * (bending * response).abs().max().item(),
        )


@dataclass(frozen=True)
class FieldOfExperts(DenoisingProblem):
    """Learned filters; θ = (a common log-weight, a log-weight each, a log-smoothing each, the filters).

    Twice the weight of filter i is the product of the common weight and its own. Filters have mean zero, whatever θ,
    so that a constant costs nothing; a filter responds wherever it fits into the image.

    Attributes
    ----------
    n_filters, filter_size
        Number of filters, and the side of each.
    """

    n_filters: int = 8
    filter_size: int = 3

    def start(
        self,
        generator: torch.Generator | None = None,
        *,
        log_weight: float = -3.0,
        log_smoothing: float = -3.5,
    ) -> Float[Tensor, " p"]:
        """Draw random filters, all of one weight and one smoothing.

        Parameters
        ----------
        generator
            Source of randomness.
        log_weight, log_smoothing
            Of each filter; the common log-weight is 0.

        Returns
        -------
        θ.
        """
        k, size = self.n_filters, self.filter_size
        filters = standard_normal_like(self.noisy.new_empty(k, size**2), generator) / size
        logarithms = [filters.new_full((n,), v) for n, v in ((1, 0.0), (k, log_weight), (k, log_smoothing))]
        return torch.cat([*logarithms, filters.flatten()])

    def filters(self, theta: Float[Tensor, " p"]) -> Float[Tensor, "k 1 s s"]:
        """Take the filters out of θ, and their means out of them."""
        raw = theta[1 + 2 * self.n_filters :].reshape(self.n_filters, -1)
        centred = raw - raw.mean(dim=1, keepdim=True)
        return centred.reshape(self.n_filters, 1, self.filter_size, self.filter_size)

    def _scales(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        k = self.n_filters
        scales = _exponential(theta[: 1 + 2 * k])
        return (scales[0] * scales[1 : 1 + k] / 2)[:, None, None], scales[1 + k :, None, None]

    _kernels = filters

    def _analyse(self, x: Tensor, kernels: Tensor) -> Tensor:
        return conv2d(x, kernels)

    def _synthesise(self, field: Tensor, kernels: Tensor) -> Tensor:
        return conv_transpose2d(field, kernels)

    def _gains(self, theta: Tensor) -> Tensor:
        """Squared modulus of each filter's transfer function at the image's frequencies."""
        return torch.fft.rfft2(self.filters(theta)[:, 0], s=self.noisy.shape[-2:]).abs().square()

    def curvature(self, theta: Tensor) -> Curvature:
        """A convolution without padding is a part of a periodic one."""
        weights, smoothing = self._scales(theta)
        return Curvature(1.0, 1 + (weights / smoothing * self._gains(theta)).sum(dim=0).max().item())

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """Block by block of B, with the largest gain of filter i for ‖Kᵢ‖."""
        weights, smoothing = (scale.flatten() for scale in self._scales(theta))
        filters, size = self.filters(theta), self.filter_size
        norms, row_norms = self._gains(theta).amax(dim=(1, 2)).sqrt(), filters.flatten(1).norm(dim=1)
        ratio, curvatures, bending = self._extremes(x, theta, row_norms[:, None, None], radius)
        response = self._analyse(adjoint, filters).abs()

        def contrast(image: Tensor) -> Tensor:
            """Length of what is left of the patch that a filter sees when its mean is taken away."""
            ones = torch.ones_like(filters[:1])
            squares = conv2d(image**2, ones) - conv2d(image, ones) ** 2 / size**2
            return squares.clamp_min(0).sqrt()

        def length(field: Tensor) -> Tensor:
            """Of each filter's part."""
            return field.square().sum(dim=(0, 2, 3)).sqrt()

        patches = contrast(x)
        slope, by_curvature = length(ratio * _inverse_root(ratio)), length(curvatures * response)
        by_weight = weights * norms * slope
        by_smoothing = weights * norms * length(ratio * _inverse_root(ratio) ** 3)
        by_filter = weights * (size * slope + norms * length(curvatures * patches))
        norm = torch.cat([by_weight.sum()[None], by_weight, by_smoothing, by_filter]).norm().item()
        # The same of their changes: at most, for any adjoint of norm 1; and for this one.
        most = weights * norms**2 / smoothing
        by_patch = 2 * size * weights * norms / smoothing + most * (
            bending.amax(dim=(0, 2, 3)) * smoothing
        ) * (patches.max())
        growth = torch.cat([most.sum()[None], most, 2 * most, by_patch]).norm().item()
        change = weights * norms * by_curvature
        by_patch = weights * (
            norms * length(curvatures * contrast(adjoint))
            + norms * length(bending * response * patches)
            + size * by_curvature
        )
        return Sensitivity(
            norm + growth * radius,
            torch.cat([change.sum()[None], change, 2 * change, by_patch]).norm().item(),
            (weights * norms**2 * (bending * response).amax(dim=(0, 2, 3))).sum().item(),
        )


@dataclass(frozen=True)
class SoftmaxRegression:
    """h = mean cross-entropy of training examples + ½Σ e^θ x², and g = mean cross-entropy of validation examples.

    The weights x have one row a feature and one column a class; θ has any shape that broadcasts to theirs: one
    penalty in all, (1, 1), one a feature, (d, 1), or one a weight, (d, c).

    Attributes
    ----------
    features, labels
        Of the training examples.
    validation_features, validation_labels
        Of the others.
    n_classes
        c.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    validation_features: Float[Tensor, "m d"]
    validation_labels: Int[Tensor, " m"]
    n_classes: int

    @cached_property
    def _smoothness(self) -> float:
        """Of the training loss: the Hessian of log-sum-exp is at most ½."""
        return torch.linalg.matrix_norm(self.features, 2).item() ** 2 / (2 * len(self.features))

    @cached_property
    def _targets(self) -> Tensor:
        return one_hot(self.labels, self.n_classes).to(self.features)

    @cached_property
    def _validation_targets(self) -> Tensor:
        return one_hot(self.validation_labels, self.n_classes).to(self.features)

    @cached_property
    def upper_smoothness(self) -> float:
        """Half the largest eigenvalue of the validation features' second moments."""
        m = len(self.validation_features)
        return torch.linalg.matrix_norm(self.validation_features, 2).item() ** 2 / (2 * m)

    def curvature(self, theta: Tensor) -> Curvature:
        """Only the penalties make the lower level strongly convex."""
        penalties = _exponential(theta)
        return Curvature(penalties.min().item(), penalties.max().item() + self._smoothness)

    def sensitivity(self, x: Tensor, theta: Tensor, adjoint: Tensor, radius: float) -> Sensitivity:
        """The columns of B, parts of e^θ x, are orthogonal.

        The third cumulant of a unit vector's entries, whose range is at most √2, is at most √2³/(6√3).
        """
        penalties = _exponential(theta)
        columns = [
            (penalties * part).square().sum_to_size(theta.shape).max().sqrt().item() for part in (x, adjoint)
        ]
        scores = (self.features @ adjoint).norm(dim=1).max().item()
        return Sensitivity(
            columns[0] + penalties.max().item() * radius,
            columns[1],
            2 * self._smoothness * scores * math.sqrt(2) ** 3 / (6 * math.sqrt(3)),
        )

    def gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """The features times the errors of the predicted probabilities, plus e^θ x."""
        errors = (self.features @ x).softmax(dim=1) - self._targets
        return torch.addmm(_exponential(theta) * x, self.features.T, errors, alpha=1 / len(errors))

    def hessian(self, x: Tensor, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The features times the covariance of each example's class, plus e^θ."""
        probabilities, penalties = (self.features @ x).softmax(dim=1), _exponential(theta)

        def product(vector: Tensor) -> Tensor:
            change = probabilities * (self.features @ vector)
            change = change - probabilities * change.sum(dim=1, keepdim=True)
            return torch.addmm(penalties * vector, self.features.T, change, alpha=1 / len(change))

        return product

    def cross(self, x: Tensor, theta: Tensor, adjoint: Tensor) -> Tensor:
        """e^θ x q, summed over the weights that share a penalty."""
        return (_exponential(theta) * x * adjoint).sum_to_size(theta.shape)

    def upper(self, x: Tensor) -> tuple[float, Tensor]:
        """The validation loss and its gradient."""
        scores = self.validation_features @ x
        errors = scores.softmax(dim=1) - self._validation_targets
        loss = cross_entropy(scores, self.validation_labels).item()
        return loss, self.validation_features.T @ errors / len(errors)

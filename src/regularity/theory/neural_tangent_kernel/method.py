"""Wide networks by gradient descent, the kernel that they follow, and where it leads at every time.

`draw_networks` and `train` are the networks, in the parametrisation of the paper and several side by side;
`empirical_kernel` is the kernel that moves their outputs; `kernel_flow` solves the linear differential equation that
is left when that kernel does not change. Kernels of infinite width are `regularity.foundations.kernels`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
    check_squares,
)

# --- Networks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """Fully connected ReLU networks of one shape, r of them side by side.

    A layer computes W a/√(its inputs) + bias_std·b, and all entries of W and b start standard normal.

    Attributes
    ----------
    weights, biases
        Of each layer.
    bias_std
        β, the weight of the biases.
    """

    weights: tuple[Float[Tensor, "r _ _"], ...]
    biases: tuple[Float[Tensor, "r _"], ...]
    bias_std: float


def draw_networks(
    widths: list[int],
    *,
    n_runs: int = 1,
    bias_std: float = 0.1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Networks:
    """Draw networks at their start.

    Parameters
    ----------
    widths
        n_0, n_1, ..., n_L: inputs, hidden layers, outputs.
    n_runs
        Networks, each with weights of its own.
    bias_std
        β, not negative.
    generator, dtype, device
        Source of the weights; their type, and where they go.

    Returns
    -------
    The networks.

    Raises
    ------
    ValueError
        If there are fewer than two widths or one is below 1, or `bias_std` is negative.
    """
    check_at_least("the number of widths", len(widths), 2)
    check_at_least("the smallest of widths", min(widths), 1)
    check_at_least("n_runs", n_runs, 1)
    check_at_least("bias_std", bias_std, 0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(n_runs, *shape, generator=generator, dtype=dtype).to(device)

    shapes = list(zip(widths[1:], widths, strict=False))
    weights = tuple(draw(n_out, n_in) for n_out, n_in in shapes)
    return Networks(weights, tuple(draw(n_out) for n_out, _ in shapes), bias_std)


def _signals(networks: Networks, inputs: Tensor) -> list[Tensor]:
    """The inputs, the activations of the hidden layers, and the outputs, each (r, n, units)."""
    signals = [inputs.expand(len(networks.weights[0]), *inputs.shape[-2:])]
    for weights, biases in zip(networks.weights, networks.biases, strict=True):
        shift = networks.bias_std * biases[:, None, :]
        outputs = torch.baddbmm(shift, signals[-1], weights.mT, alpha=weights.shape[-1] ** -0.5)
        signals.append(torch.relu(outputs))
    return [*signals[:-1], outputs]


def _errors(networks: Networks, signals: list[Tensor], error: Tensor) -> list[Tensor]:
    """Derivatives in the pre-activations of each layer, first layer first, given those in the outputs."""
    errors = [error]
    for weights, active in zip(networks.weights[:0:-1], signals[-2:0:-1], strict=True):
        back = errors[0] @ weights * weights.shape[-1] ** -0.5
        errors.insert(0, back * (active > 0))
    return errors


def _as_inputs(networks: Networks, name: str, inputs: Tensor) -> Tensor:
    """Take inputs in the networks' type."""
    (inputs,) = as_floats(**{name: inputs})
    d = networks.weights[0].shape[-1]
    if inputs.ndim != 2 or inputs.shape[1] != d:
        raise ValueError(f"{name} must be (n, {d}), as the networks take them; got {tuple(inputs.shape)}")
    inputs = inputs.to(networks.weights[0])
    check_finite(name, inputs)
    check_squares(name, inputs)
    return inputs


def network_outputs(networks: Networks, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "r n k"]:
    """What each network makes of the inputs.

    Parameters
    ----------
    networks
        r of them, side by side.
    inputs
        One a row.

    Returns
    -------
    The outputs, in the networks' type.

    Raises
    ------
    ValueError
        If the inputs have another dimension, or are not finite or too large.
    """
    return _signals(networks, _as_inputs(networks, "inputs", inputs))[-1]


def conditional_covariance(networks: Networks, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "r n n"]:
    """Covariance of an output over draws of the last layer, whose law is Gaussian when the others are given.

    Parameters
    ----------
    networks
        The networks; their last layer does not matter.
    inputs
        Points, one a row.

    Returns
    -------
    a·a'/n_{L−1} + β², a being the activations of the last hidden layer, for each network. Where this is the same for
    all networks, the outputs are a Gaussian process.

    Raises
    ------
    ValueError
        If the points have another dimension, or are not finite or too large.
    """
    hidden = _signals(networks, _as_inputs(networks, "inputs", inputs))[-2]
    return hidden @ hidden.mT / hidden.shape[-1] + networks.bias_std**2


def empirical_kernel(
    networks: Networks, inputs: Float[Tensor, "n d"], others: Float[Tensor, "m d"] | None = None
) -> Float[Tensor, "r n m"]:
    """Neural tangent kernel of finite networks: inner products of the outputs' derivatives in all parameters.

    No derivative is formed. In layer l that in W is the outer product of δ, the derivative in the pre-activations,
    and the activations a below, so that Θ = Σ_l (a·a'/n_{l−1} + β²)(δ·δ').

    Parameters
    ----------
    networks
        Networks of one output.
    inputs, others
        Points, one a row; `others` for the columns, None: the same.

    Returns
    -------
    One kernel a network, in the networks' type.

    Raises
    ------
    ValueError
        If the networks have several outputs, or points of another dimension, not finite or too large.
    """
    n_outputs = len(networks.biases[-1][0])
    if n_outputs != 1:
        raise ValueError(f"networks must have one output; got {n_outputs}")

    def pairs(name: str, points: Tensor) -> list[tuple[Tensor, Tensor]]:
        signals = _signals(networks, _as_inputs(networks, name, points))
        return list(zip(signals, _errors(networks, signals, torch.ones_like(signals[-1])), strict=False))

    rows = pairs("inputs", inputs)
    columns = rows if others is None else pairs("others", others)
    kernel = 0.0
    for (signal, error), (signal_there, error_there) in zip(rows, columns, strict=True):
        layer = signal @ signal_there.mT / signal.shape[-1] + networks.bias_std**2
        kernel = kernel + layer * (error @ error_there.mT)
    return kernel


@dataclass(frozen=True)
class Training:
    """What gradient descent did.

    Attributes
    ----------
    networks
        The networks after the last step.
    outputs
        Their outputs on the training inputs before each step, and after the last.
    """

    networks: Networks
    outputs: Float[Tensor, "r steps n k"]


def train(
    networks: Networks,
    inputs: Float[Tensor, "n d"],
    targets: Float[Tensor, "*r n k"],
    *,
    learning_rate: float,
    n_steps: int,
) -> Training:
    """Gradient descent on half the mean squared error over all inputs; the networks given stay as they are.

    Parameters
    ----------
    networks
        Where to start.
    inputs, targets
        One a row; targets for all networks alike, or for each its own.
    learning_rate
        η. The outputs converge if it is below 2/λ_1, the largest eigenvalue of the empirical kernel over n.
    n_steps
        Steps, at least 1: the time is learning_rate·n_steps.

    Returns
    -------
    The networks and how their outputs went.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or `learning_rate` or `n_steps` is not positive.
    FloatingPointError
        If the training diverges.
    """
    check_positive("learning_rate", learning_rate)
    check_at_least("n_steps", n_steps, 1)
    inputs = _as_inputs(networks, "inputs", inputs)
    (targets,) = as_floats(targets=targets)
    targets = targets.to(inputs)
    check_finite("targets", targets)
    shape = len(networks.weights[0]), len(inputs), len(networks.biases[-1][0])
    if targets.shape not in (shape, shape[1:]):
        raise ValueError(f"targets must be {shape[1:]} or {shape}; got {tuple(targets.shape)}")
    networks = Networks(
        tuple(weights.clone() for weights in networks.weights),
        tuple(biases.clone() for biases in networks.biases),
        networks.bias_std,
    )
    rate = learning_rate / len(inputs)
    outputs = []
    for _ in range(n_steps):
        signals = _signals(networks, inputs)
        outputs.append(signals[-1])
        errors = _errors(networks, signals, signals[-1] - targets)
        for weights, biases, signal, error in zip(
            networks.weights, networks.biases, signals, errors, strict=False
        ):
            weights.baddbmm_(error.mT, signal, alpha=-rate * weights.shape[-1] ** -0.5)
            biases.sub_(error.sum(dim=1), alpha=rate * networks.bias_std)
    outputs.append(_signals(networks, inputs)[-1])
    if not bool(torch.isfinite(outputs[-1]).all()):
        raise FloatingPointError(f"training diverged; learning_rate must be smaller than {learning_rate}")
    return Training(networks, torch.stack(outputs, dim=1))


# --- Kernel gradient flow ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelFlow:
    """The solution of df/dt = −Θ(·, X)(f(X) − y)/n, in the kernel's principal components.

    Attributes
    ----------
    eigenvalues
        λ_1 ≥ λ_2 ≥ ... of Θ(X, X)/n: the rates of convergence.
    components
        Principal components as columns, of length one.
    learning_rate
        None: the flow itself. Otherwise gradient descent with this rate, in which a component keeps the share
        1 − learning_rate·λ at each step, and the time counts learning_rate a step.
    """

    eigenvalues: Float[Tensor, " n"]
    components: Float[Tensor, "n n"]
    learning_rate: float | None = None

    def kept(self, times: Float[Tensor, " t"]) -> Float[Tensor, "t n"]:
        """Share of each component's error that is left: exp(−tλ), or (1 − ηλ)^(t/η)."""
        times = self._as_times(times)[:, None]
        if self.learning_rate is None:
            return torch.exp(-times * self.eigenvalues)
        return (1 - self.learning_rate * self.eigenvalues).pow((times / self.learning_rate).round())

    def change(
        self,
        wanted: Float[Tensor, "n k"],
        times: Float[Tensor, " t"],
        cross: Float[Tensor, "m n"] | None = None,
    ) -> Float[Tensor, "t _ k"]:
        """How far the function has moved, given how far it should move on the data.

        Parameters
        ----------
        wanted
            y − f_0(X), one column an output.
        times
            Times t, not negative; infinity gives regression without a ridge, with the pseudo-inverse where Θ is
            singular.
        cross
            Θ(x, X), points x of m rows; None: on the data.

        Returns
        -------
        f_t − f_0: A_t (y − f_0(X)) with A_t = Θ(x, X) Θ⁻¹ (I − exp(−tΘ/n)).
        """
        (wanted, cross) = as_floats(wanted=wanted, cross=cross)
        shares = self.components.T @ wanted.to(self.components)
        if cross is None:
            return self.components @ ((1 - self.kept(times))[:, :, None] * shares)
        left = cross.to(self.components) @ self.components / len(self.eigenvalues)
        return left @ (self._weights(times)[:, :, None] * shares)

    def law(
        self,
        time: float,
        targets: Float[Tensor, "n k"],
        cross: Float[Tensor, "m n"],
        prior: Float[Tensor, "n n"],
        prior_cross: Float[Tensor, "m n"],
        prior_there: Float[Tensor, "m m"],
    ) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m m"]]:
        """Mean and covariance of f_t(x) over infinitely wide networks, whose f_0 is a Gaussian process.

        Parameters
        ----------
        time
            Time t.
        targets, cross
            y and Θ(x, X).
        prior, prior_cross, prior_there
            Covariance of f_0: Σ(X, X), Σ(x, X), Σ(x, x).

        Returns
        -------
        A_t y, and Σ(x, x) − A_t Σ(X, x) − Σ(x, X) A_tᵀ + A_t Σ(X, X) A_tᵀ.
        """
        (mean,) = self.change(targets, torch.tensor([time]), cross)
        (apply,) = self.change(torch.eye(len(self.eigenvalues)), torch.tensor([time]), cross)
        moved = apply @ prior_cross.T
        return mean, prior_there - moved - moved.T + apply @ prior @ apply.T

    def _weights(self, times: Tensor) -> Tensor:
        """(1 − kept)/λ, which is t where λ is zero, and zero there at t = ∞."""
        times = self._as_times(times)
        rank = self.eigenvalues > 1e-14 * len(self.eigenvalues) * self.eigenvalues[0]
        if self.learning_rate is None:
            learned = -torch.expm1(-times[:, None] * self.eigenvalues)
        else:
            learned = 1 - self.kept(times)
        null = torch.where(times.isinf(), 0.0, times)[:, None]
        return torch.where(rank, learned / self.eigenvalues.where(rank, 1.0), null)

    def _as_times(self, times: Tensor) -> Tensor:
        (times,) = as_floats(finite=False, times=times)
        check_not_negative("times", times)
        return times.to(self.eigenvalues)


def kernel_flow(kernel: Float[Tensor, "n n"], learning_rate: float | None = None) -> KernelFlow:
    """Find the principal components of a kernel on the data, and with them the training at all times.

    Parameters
    ----------
    kernel
        Θ(X, X), symmetric and positive semidefinite. Double precision is used.
    learning_rate
        None: gradient flow. Otherwise gradient descent with this rate, which must be below 2/λ_1.

    Returns
    -------
    The flow.

    Raises
    ------
    ValueError
        If the kernel is not finite, square, symmetric and positive semidefinite up to rounding, or is zero; or if
        gradient descent with this rate would diverge.
    """
    (kernel,) = as_floats(kernel=kernel)
    check_squares("kernel", kernel)
    rounding = 100 * torch.finfo(kernel.dtype).eps
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"kernel must be (n, n); got {tuple(kernel.shape)}")
    largest = kernel.abs().max()
    if not largest > 0 or (kernel - kernel.T).abs().max() > rounding * largest:
        raise ValueError("kernel must be symmetric, and not zero")
    eigenvalues, components = torch.linalg.eigh(kernel.double() / len(kernel))
    eigenvalues, components = eigenvalues.flip(0), components.flip(1)
    if eigenvalues[-1] < -rounding * len(kernel) * eigenvalues[0]:
        raise ValueError(
            f"kernel must be positive semidefinite; got eigenvalues of kernel/n from {eigenvalues[-1]:g}"
            f" to {eigenvalues[0]:g}"
        )
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
        if learning_rate * eigenvalues[0] >= 2:
            raise ValueError(
                f"learning_rate must be below 2/λ_1 = {2 / eigenvalues[0]:g} (λ_1 = {eigenvalues[0]:g});"
                f" got {learning_rate}"
            )
    return KernelFlow(eigenvalues.clamp_min(0), components, learning_rate)

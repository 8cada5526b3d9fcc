"""Which global minima can stochastic gradient descent stay at, and the descent that finds them.

Near a minimum where every residual is zero the Hessian is H = JᵀJ/n, with one row of J for each sample: the gradient
of its prediction. The Gram matrix K = JJᵀ/n has the same eigenvalues, and everything here can be told from K.

Wu and Su (2023), arXiv 2305.17490; Mulayoff and Michaeli (2024), arXiv 2306.07850; Wu, Wang and Su (2022), The
alignment property of SGD noise and how it helps select flat minima.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.foundations.curvature import extreme_eigenvalues

LARGEST = 1e100  # of what is squared

# --- Sharpness ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sharpness:
    """Three sizes of the Hessian at a global minimum, one value a run."""

    trace: Float[Tensor, "*runs"]
    frobenius: Float[Tensor, "*runs"]
    spectral: Float[Tensor, "*runs"]


def gram_matrix(jacobian: Float[Tensor, "n p"]) -> Float[Tensor, "n n"]:
    """K = JJᵀ/n, in double precision, from the gradients of the n predictions."""
    (jacobian,) = as_floats(jacobian=jacobian)
    check_squares("jacobian", jacobian.double())
    return jacobian.double() @ jacobian.double().T / len(jacobian)


def sharpness(gram: Float[Tensor, "*runs n n"]) -> Sharpness:
    """Trace, Frobenius norm and largest eigenvalue of the Hessian at global minima, from their Gram matrices."""
    gram, scale, rounding = _scaled(gram)
    eigenvalues = torch.linalg.eigvalsh(gram)
    _check_spectrum(eigenvalues, rounding)
    eigenvalues = scale[..., None] * eigenvalues.clamp_min(0)
    return Sharpness(eigenvalues.sum(-1), torch.linalg.vector_norm(eigenvalues, dim=-1), eigenvalues[..., -1])


# --- The second moment of linearised SGD ----------------------------------------------------------------------------


def second_moment_step(
    moment: Float[Tensor, "p p"],
    jacobian: Float[Tensor, "n p"],
    *,
    learning_rate: float,
    batch_size: int | float,
) -> Float[Tensor, "p p"]:
    """Carry the second moment of the distance to a minimum through one step of linearised SGD: the operator T.

    Parameters
    ----------
    moment
        M, the mean of δδᵀ, before the step.
    jacobian
        Gradients g of the samples' predictions at the minimum, as rows.
    learning_rate, batch_size
        η, and B samples, drawn with replacement; infinite: the full gradient, that is GD.

    Returns
    -------
    T(M) = (I − ηH) M (I − ηH) + (η²/B) [mean of gg'Mgg' − HMH].

    Raises
    ------
    ValueError
        If the learning rate is not positive, the batch size below 1, or the moment has another size.
    """
    moment, jacobian = as_floats(moment=moment, jacobian=jacobian)
    _check_step(learning_rate, batch_size)
    if moment.shape != (jacobian.shape[-1],) * 2:
        raise ValueError(f"moment must be square, one row a column of jacobian; got {tuple(moment.shape)}")
    check_squares("moment", moment)
    if not learning_rate * float(jacobian.double().square().max()) < LARGEST**0.5:
        raise ValueError(f"learning_rate times the squares of jacobian must be below {LARGEST**0.5:g}")
    dtype, moment, jacobian = moment.dtype, moment.double(), jacobian.double()
    return _step(moment, jacobian, learning_rate, batch_size).to(dtype)


def _step(moment: Tensor, jacobian: Tensor, learning_rate: float, batch_size: int | float) -> Tensor:
    hessian = jacobian.T @ jacobian / len(jacobian)
    decay = torch.eye(len(hessian)).to(hessian) - learning_rate * hessian
    noise = _sampled(moment, jacobian) - hessian @ moment @ hessian
    return decay @ moment @ decay + learning_rate**2 / batch_size * noise


def _sampled(moment: Tensor, jacobian: Tensor) -> Tensor:
    """Mean over the samples of gg'Mgg'."""
    weights = ((jacobian @ moment) * jacobian).sum(dim=-1) / len(jacobian)
    return jacobian.T @ (weights[:, None] * jacobian)


def growth_rate(
    gram: Float[Tensor, "n n"], *, learning_rate: float, batch_size: int | float = 1, n_steps: int = 60
) -> float:
    """Factor by which the mean squared distance to a minimum grows in the long run, a step of linearised SGD.

    It is the spectral radius of T on the range of H. T keeps positive semidefinite matrices so, hence its spectral
    radius is its largest eigenvalue, which Lanczos finds.

    Parameters
    ----------
    gram, learning_rate, batch_size
        K at the minimum; η and B.
    n_steps
        Of Lanczos, at most.

    Returns
    -------
    The factor: the minimum is linearly stable where it is at most 1.

    Raises
    ------
    ValueError
        If `gram` is no Gram matrix, or an argument is out of range.
    """
    _check_step(learning_rate, batch_size)
    jacobian, _, scale = _coordinates(gram)
    step = learning_rate * scale
    if step > LARGEST:
        raise ValueError(f"learning_rate times gram must be at most {LARGEST:g}; got {step:g}")
    if jacobian.shape[-1] == 0:
        return 1.0
    return _largest(
        lambda moment: _step(moment, jacobian, step, batch_size), torch.eye(jacobian.shape[-1]), n_steps
    )


def critical_learning_rate(
    gram: Float[Tensor, "n n"], batch_size: int | float = 1, *, n_steps: int = 60
) -> float:
    """Largest learning rate at which linearised SGD stays at a minimum, in the mean square: exactly, at once.

    T is I − ηA + η²C with A(M) = HM + MH and C(M) = (1 − 1/B) HMH + (1/B) mean of gg'Mgg'. It is self-adjoint, so it
    has no eigenvalue above 1 exactly where ηC ≤ A. In the eigenvectors of H, A multiplies each entry by a number, and
    Lanczos finds the largest eigenvalue of A^(−1/2) C A^(−1/2) from products alone. It begins with the projection
    onto the range of H: its first value is the bound by the trace, which the next ones sharpen.

    Parameters
    ----------
    gram, batch_size
        K at the minimum; B samples, drawn with replacement, or infinite: GD.
    n_steps
        Of Lanczos, at most; with fewer than are needed the result is too large.

    Returns
    -------
    The learning rate; infinite where the Hessian is zero.

    Raises
    ------
    ValueError
        If `gram` is no Gram matrix, or the batch size is below 1.
    """
    _check_step(1.0, batch_size)
    jacobian, eigenvalues, scale = _coordinates(gram)
    if len(eigenvalues) == 0:
        return math.inf
    root = (eigenvalues[:, None] + eigenvalues).sqrt()

    def product(moment: Tensor) -> Tensor:
        moment = moment / root
        smooth = eigenvalues[:, None] * moment * eigenvalues
        mixed = (1 - 1 / batch_size) * smooth + _sampled(moment, jacobian) / batch_size
        return mixed / root

    return 1 / _largest(product, root * torch.eye(len(root)), n_steps) / scale


def alignment(gram: Float[Tensor, "n n"]) -> float:
    """Least alignment μ of the gradient noise with the Hessian, over all small displacements from a minimum.

    One step of linearised SGD multiplies the mean loss by at least (η²/B) μ ‖H‖²_F, with μ the least value of
    δᵀ(mean of (gᵀHg) gg' − H³)δ / (δᵀHδ ‖H‖²_F): so a minimum whose loss stays bounded has ‖H‖_F ≤ √(B/μ)/η. In the
    samples' coordinates μ is the least eigenvalue of diag(n(K²)_ii) − K² on the range of K, over ‖K‖²_F.
    """
    jacobian, eigenvalues, _ = _coordinates(gram)
    if len(eigenvalues) == 0:
        return 0.0
    n = len(jacobian)
    vectors = jacobian / (n * eigenvalues).sqrt()
    curved = n * (vectors.square() * eigenvalues.square()).sum(dim=-1)
    noise = vectors.T @ (curved[:, None] * vectors) - eigenvalues.square().diag()
    return max(0.0, (torch.linalg.eigvalsh(noise)[0] / eigenvalues.square().sum()).item())


def _largest(product: Callable[[Tensor], Tensor], start: Tensor, n_steps: int) -> float:
    """Largest eigenvalue of a self-adjoint map of symmetric matrices."""
    check_at_least("n_steps", n_steps, 1)
    n_steps = min(n_steps, len(start) * (len(start) + 1) // 2)
    flat = lambda vector: product(vector.reshape(start.shape)).flatten()  # noqa: E731
    return extreme_eigenvalues(flat, start.double().flatten(), n_steps=n_steps).largest


def _coordinates(gram: Tensor) -> tuple[Tensor, Tensor, float]:
    """Gradients in the eigenvectors of H with positive eigenvalues, those, and the scale taken out of both."""
    gram, scale, rounding = _scaled(gram)
    if gram.ndim != 2:
        raise ValueError(f"gram must be one matrix; got shape {tuple(gram.shape)}")
    eigenvalues, vectors = torch.linalg.eigh(gram.cpu())
    _check_spectrum(eigenvalues, rounding)
    kept = eigenvalues > max(1e-10, rounding) * eigenvalues[-1].clamp_min(0)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    return vectors * (len(gram) * eigenvalues).sqrt(), eigenvalues, scale.item()


def _scaled(gram: Tensor) -> tuple[Tensor, Tensor, float]:
    """A Gram matrix in double precision with a largest entry of 1, that entry, and how much rounding may be in it."""
    (gram,) = as_floats(gram=gram)
    if gram.ndim < 2 or gram.shape[-1] != gram.shape[-2]:
        raise ValueError(f"gram must be square; got shape {tuple(gram.shape)}")
    rounding = 10 * gram.shape[-1] * torch.finfo(gram.dtype).eps
    gram = gram.double()
    scale = gram.abs().amax(dim=(-2, -1))
    gram = gram / torch.where(scale > 0, scale, 1.0)[..., None, None]
    if float((gram - gram.mT).abs().max()) > rounding:
        raise ValueError("gram must be symmetric")
    return (gram + gram.mT) / 2, scale, rounding


def _check_spectrum(eigenvalues: Tensor, rounding: float) -> None:
    if float(eigenvalues.min()) < -rounding:
        raise ValueError("gram must be positive semidefinite")


def _check_step(learning_rate: float, batch_size: int | float) -> None:
    check_positive("learning_rate", learning_rate)
    check_at_least("batch_size", batch_size, 1)


# --- The descent itself ---------------------------------------------------------------------------------------------

Parameters = tuple[Tensor, Tensor]


@runtime_checkable
class Network(Protocol):
    """A network of two layers, many at once: problems along the first axis, learning rates along the second."""

    def predict(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Predictions of all runs on their problem's inputs (problems, n, d): (problems, rates, n)."""

    def gradient(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Parameters:
        """Gradient of half the mean squared error."""

    def trace(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Trace of the Gram matrix, (problems, rates)."""


@dataclass(frozen=True)
class Descent:
    """Where the runs ended, problems along the first axis and learning rates along the second."""

    parameters: Parameters  # of both layers; infinite for a run that diverged
    clipped: Tensor  # whether a gradient was clipped in the last tenth of the steps
    steps: list[int]  # when there was a look at
    traces: Float[Tensor, "looks problems rates"]  # the trace of the Hessian's Gauss-Newton part


@torch.no_grad()
def descend(
    network: Network,
    parameters: Parameters,
    inputs: Float[Tensor, "problems n d"],
    targets: Float[Tensor, "problems n"],
    learning_rates: Float[Tensor, " rates"],
    *,
    n_steps: int,
    batch_size: int | None = 1,
    clip: float = 50.0,
    generator: torch.Generator | None = None,
    n_looks: int = 0,
) -> Descent:
    """Minimise half the mean squared error by SGD, or by GD: all problems and all learning rates in one array.

    Parameters
    ----------
    network, parameters
        What is trained, and where the runs begin: (problems, rates, ...) for each layer.
    inputs, targets, learning_rates
        Of each problem; and η, constant along a run.
    n_steps, n_looks
        Number of updates, and of looks at the trace along the way.
    batch_size
        Samples a step, drawn with replacement; None: all of them, that is GD.
    clip
        Longest gradient: a longer one is cut, which saves the first steps of large rates from overflow.
    generator
        Source of the batches, which the runs of one problem share.

    Returns
    -------
    The runs' ends.

    Raises
    ------
    ValueError
        If a learning rate is not positive, or shapes do not agree.
    """
    named = {"inner": parameters[0], "outer": parameters[1], "inputs": inputs, "targets": targets}
    inner, outer, inputs, targets, learning_rates = as_floats(**named, learning_rates=learning_rates)
    _check_runs(inner, outer, inputs, targets, learning_rates)
    check_at_least("n_steps", n_steps, 1)
    check_positive("clip", clip)
    n_problems, n_samples, _ = inputs.shape
    if batch_size is not None:
        check_at_least("batch_size", batch_size, 1)
        drawn = torch.randint(n_samples, (n_steps, n_problems, batch_size), generator=generator)
        drawn, problems = drawn.to(inputs.device), torch.arange(n_problems, device=inputs.device)[:, None]
    layers = inner.clone(), outer.clone()
    clipped = torch.zeros(inner.shape[:2], dtype=torch.bool, device=inputs.device)
    every, steps, traces = max(1, n_steps // max(1, n_looks)), [], []
    batch = inputs, targets
    for step in range(n_steps):
        if n_looks and step % every == 0:
            steps.append(step)
            traces.append(network.trace(layers, inputs).nan_to_num(nan=math.inf))
        if batch_size is not None:
            batch = inputs[problems, drawn[step]], targets[problems, drawn[step]]
        slopes = network.gradient(layers, *batch)
        lengths = sum(slope.flatten(2).square().sum(dim=-1) for slope in slopes).sqrt()
        if step >= int(0.9 * n_steps):
            clipped |= lengths > clip
        shrink = torch.where(lengths.isfinite(), clip / lengths, math.nan).clamp_max(1)
        pace = -learning_rates * shrink
        for layer, slope in zip(layers, slopes, strict=True):
            layer.addcmul_(slope, pace.reshape(*pace.shape, *(1,) * (slope.ndim - 2)))
    finite = torch.stack([layer.flatten(2).isfinite().all(dim=-1) for layer in layers]).all(dim=0)
    for layer in layers:
        layer[~finite] = math.inf
    looked = torch.stack(traces) if traces else inputs.new_zeros(0, *clipped.shape)
    return Descent(layers, clipped, steps, looked)


def _check_runs(inner: Tensor, outer: Tensor, inputs: Tensor, targets: Tensor, rates: Tensor) -> None:
    check_positive("learning_rates", rates)
    if rates.ndim != 1:
        raise ValueError(f"learning_rates must be a row; got shape {tuple(rates.shape)}")
    if inputs.ndim != 3:
        raise ValueError(f"inputs must have the axes problems, n, d; got shape {tuple(inputs.shape)}")
    if targets.shape != inputs.shape[:2]:
        raise ValueError(f"targets must have the shape {tuple(inputs.shape[:2])}; got {tuple(targets.shape)}")
    runs = len(inputs), len(rates)
    if inner.shape[:2] != runs or outer.shape[:2] != runs:
        raise ValueError(f"parameters must begin with the axes {runs} of inputs and learning_rates")

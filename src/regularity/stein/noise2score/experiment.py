"""The chapter's runs: trainings on the pool, what they make of the test photographs, and two exact examples."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.choices import choose
from regularity.foundations.metrics import psnr
from regularity.foundations.networks import Noise2NoiseUNet, UNet, apply_to_any_size
from regularity.foundations.randomness import stream
from regularity.foundations.risk import exact_divergence, sure_gaussian
from regularity.foundations.training import fit
from regularity.foundations.tweedie import TWEEDIE, tweedie_gamma, tweedie_gaussian, tweedie_poisson
from regularity.stein.noise2score.method import (
    ImageMap,
    NoiseEstimate,
    ardae_loss,
    ardae_residual,
    as_denoiser,
    as_score,
    estimate_noise_parameter,
    perturbation_schedule,
)
from regularity.stein.noise2score.problems import Condition, NoisyPhotograph, sample_patches
from regularity.stein.noise2score.rivals import (
    classical_denoise,
    j_invariant_denoise,
    noise2self_loss,
    noise2void_loss,
    sure_loss,
)

# --- Trainings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How a network is made and trained, alike for all methods.

    Attributes
    ----------
    sigma_a
        Largest perturbation, smallest one, and the share of the steps over which it falls.
    initial_std
        Standard deviation of the first weights; 0: as He et al. scale them.
    score_scale
        The network's output is divided by this to give the score.
    checkpoints
        Folder where long trainings are kept and resumed; "" for none.
    """

    architecture: str = "unet"
    width: int = 16
    initial_std: float = 0.0
    n_steps: int = 450
    batch_size: int = 4
    patch_size: int = 32
    learning_rate: float = 0.004
    schedule: str = "one_cycle"
    momentum: float = 0.9
    sigma_a: tuple[float, float, float] = (0.1, 0.05, 0.8)
    n_annealings: int = 1
    score_scale: float = 0.1
    checkpoints: str = ""


class Batch(NamedTuple):
    """Patches of a step and what is known of them; most losses look at `noisy` alone."""

    noisy: Tensor
    clean: Tensor
    second: Tensor
    parameter: Tensor
    perturbation_std: float
    score_scale: float
    generator: torch.Generator


def _ardae(network: ImageMap, batch: Batch) -> Tensor:
    score = as_score(network, batch.score_scale)
    return ardae_loss(score, batch.noisy, batch.perturbation_std, batch.generator)


LOSSES: Mapping[str, Callable[[ImageMap, Batch], Tensor]] = {
    "Noise2Score": _ardae,
    "Noise2Self": lambda f, batch: noise2self_loss(as_denoiser(f), batch.noisy, batch.generator),
    "Noise2Void": lambda f, batch: noise2void_loss(as_denoiser(f), batch.noisy, batch.generator),
    "Noise2Noise": lambda f, batch: (as_denoiser(f)(batch.noisy) - batch.second).square().mean(),
    "supervised": lambda f, batch: (as_denoiser(f)(batch.noisy) - batch.clean).square().mean(),
    "SURE": lambda f, batch: sure_loss(as_denoiser(f), batch.noisy, batch.parameter, batch.generator),
}


def make_network(settings: Training, generator: torch.Generator) -> nn.Module:
    """Make a network with its first weights: He's, or normal ones of one standard deviation with zero biases."""
    makers = {"unet": partial(UNet, width=settings.width), "noise2noise": Noise2NoiseUNet}
    network = choose("architecture", settings.architecture, makers)(generator=generator)
    if settings.initial_std:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=settings.initial_std, generator=generator)
                nn.init.zeros_(module.bias)
    return network


def train(
    method: str,
    pool: Sequence[NoisyPhotograph],
    settings: Training,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> ImageMap:
    """Fit a new network to a pool by a method's loss; first weights and patches depend on the seed alone."""
    loss_of = choose("method", method, LOSSES)
    network = make_network(settings, stream(seed, "weights")).to(device)
    layers = [entry.layers.to(device) for entry in pool]
    parameters = torch.tensor([entry.parameter for entry in pool], device=device)
    own = stream(seed, "loss", method)
    period = max(settings.n_steps // settings.n_annealings, 1)
    start, end, fraction = settings.sigma_a

    def loss(step: int) -> Tensor:
        drawing = stream(seed, "patches", step)
        size, n_patches = settings.patch_size, settings.batch_size
        patches, indices = sample_patches(layers, size=size, n_patches=n_patches, generator=drawing)
        std = perturbation_schedule(step % period, period, start=start, end=end, fraction=fraction)
        known = parameters[indices.to(device)], std, settings.score_scale, own
        return loss_of(network, Batch(*patches.split(1, dim=1), *known))

    name = f"{method}-{len(pool)}-{settings.width}-{settings.n_steps}-{seed}.pt"
    fit(
        network,
        loss,
        n_steps=settings.n_steps,
        learning_rate=settings.learning_rate,
        generator=own,
        schedule=settings.schedule,
        betas=(settings.momentum, 0.999),
        checkpoint=Path(settings.checkpoints, name) if settings.checkpoints else None,
    )
    return partial(apply_to_any_size, network, multiple=network.multiple)


# --- What becomes of the test photographs --------------------------------------------------------------------------


@torch.inference_mode()
def restore(
    method: str, network: ImageMap, images: Sequence[Tensor], condition: Condition, score_scale: float
) -> list[Tensor]:
    """Denoise images of a condition: by Tweedie's formula, by masked passes, or by the network as it is."""
    if method == "Noise2Score":
        score, formula = as_score(network, score_scale), TWEEDIE[condition.family]
        return [formula(image, score(image), condition.parameter).cpu() for image in images]
    if method == "Noise2Self":
        return [j_invariant_denoise(as_denoiser(network), image).cpu() for image in images]
    return [as_denoiser(network)(image).cpu() for image in images]


def restore_classically(
    method: str, images: Sequence[Tensor], condition: Condition, strengths: tuple[float, float]
) -> list[Tensor]:
    """Denoise without a training: the noise is told, the strengths, for strong and weak noise, were fixed before."""
    strength = strengths[condition.std_at_mid_grey < 20 / 255]
    noise = condition.family, condition.parameter
    return [classical_denoise(image.cpu(), *noise, method, strength=strength) for image in images]


def quality(images: Sequence[Tensor], truths: Sequence[Tensor]) -> Float[np.ndarray, " n"]:
    """PSNR of each image, in dB."""
    return np.concatenate([psnr(image, truth) for image, truth in zip(images, truths, strict=True)])


FORMULAS = {
    "gaussian": tweedie_gaussian,
    "poisson": partial(tweedie_poisson, check_lattice=False),  # most gains of a scan are wrong
    "gamma": partial(tweedie_gamma, check_denominator=False),  # and so are most shapes
}


@torch.inference_mode()
def scan(
    score: ImageMap,
    images: Sequence[Tensor],
    family: str,
    grid: Sequence[float],
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[NoiseEstimate]:
    """Estimate the noise's parameter for each image, with one pass through the network."""
    formula = choose("family", family, FORMULAS)
    return [estimate_noise_parameter(y, score(y), formula, grid, penalty=penalty) for y in images]


# --- Exact examples ------------------------------------------------------------------------------------------------


def identity_gaps(perturbation_stds: Sequence[float], generator: torch.Generator) -> list[float]:
    """Root mean square gap, over some points of ℝ³, between AR-DAE's loss and the risk that SURE estimates.

    For a smooth map: the expectation over u by Gauss–Hermite quadrature, the divergence by differentiation.
    """
    noise_std = 0.3
    weights = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(8, 3, generator=generator, dtype=torch.float64)

    def score(y: Tensor) -> Tensor:
        return torch.tanh(y @ weights[0]) @ weights[1] - y

    denoised = tweedie_gaussian(points, score(points), noise_std)
    divergence = 3 + noise_std**2 * exact_divergence(score, points)  # of y + σ² R(y)
    sure = sure_gaussian(denoised, points, noise_std, divergence)
    limit = (sure - 3 * noise_std**2) / noise_std**4

    nodes, node_weights = map(torch.as_tensor, np.polynomial.hermite_e.hermegauss(20))
    u = torch.cartesian_prod(nodes, nodes, nodes)
    law = torch.cartesian_prod(node_weights, node_weights, node_weights).prod(dim=-1)
    law = law / law.sum()

    def loss(y: Tensor, std: float) -> Tensor:
        return law @ ardae_residual(score, y.expand_as(u), u, std).square().sum(dim=-1)

    losses = [torch.stack([loss(y, std) for y in points]) for std in perturbation_stds]
    gaps = [(at - 3) / std**2 - limit for at, std in zip(losses, perturbation_stds, strict=True)]
    return [gap.square().mean().sqrt().item() for gap in gaps]


def conjugate_errors() -> dict[str, float]:
    """Largest errors of Tweedie's formulas under conjugate priors, where score and posterior are closed forms.

    Gaussian: against the posterior mean. Gamma: against the harmonic mean. Poisson, from 5 counts on: relative error
    against the geometric mean.
    """
    y = torch.linspace(-0.5, 1.5, 41, dtype=torch.float64)
    mean, variance, noise_std = 0.4, 0.09, 0.2
    score = -(y - mean) / (variance + noise_std**2)
    posterior = (variance * y + noise_std**2 * mean) / (variance + noise_std**2)
    gaussian = tweedie_gaussian(y, score, noise_std) - posterior

    y = torch.linspace(0.05, 2, 40, dtype=torch.float64)  # x inverse-Gamma(a, b), noise Gamma(k, k)
    a, b, k = 4.0, 1.5, 20.0
    score = (k - 1) / y - (a + k) * k / (b + k * y)
    gamma = tweedie_gamma(y, score, k) - (b + k * y) / (a + k)

    z = torch.arange(5, 61, dtype=torch.float64)  # counts of mean Gamma(a, rate b)
    a, b = 3.0, 0.25
    score = torch.digamma(z + a) - torch.digamma(z + 1) - math.log(1 + b)
    poisson = tweedie_poisson(z, score, 1.0) / (torch.exp(torch.digamma(z + a)) / (1 + b)) - 1
    errors = {"gaussian": gaussian, "gamma": gamma, "poisson": poisson}
    return {family: error.abs().max().item() for family, error in errors.items()}


class Lattice(NamedTuple):
    """One pixel with Poisson counts: posterior means, and the formula with the score of the blurred lattice."""

    counts: Tensor
    arithmetic_mean: Tensor
    geometric_mean: Tensor
    estimates: dict[float, Tensor]
    distances: dict[float, float]


def poisson_on_the_lattice(perturbation_stds: Sequence[float], *, n_counts: int = 121) -> Lattice:
    """Work out one pixel exactly: clean value from Gamma(3, rate 1/4), perturbations in units of counts.

    Distances are root mean squares, over the counts' distribution, to the geometric posterior mean.
    """
    z = torch.arange(n_counts, dtype=torch.float64)
    a, b = torch.tensor([3.0, 0.25], dtype=torch.float64)
    log_probability = torch.lgamma(z + a) - torch.lgamma(a) - torch.lgamma(z + 1)
    log_probability = log_probability + a * torch.log(b / (1 + b)) - z * torch.log(1 + b)
    geometric = torch.exp(torch.digamma(z + a)) / (1 + b)
    pull = z - z[:, None]  # from each count, in rows, to each other
    estimates, distances = {}, {}
    for std in perturbation_stds:
        weights = torch.softmax(log_probability - pull.square() / (2 * std**2), dim=1)
        score = (weights * pull).sum(dim=1) / std**2
        estimates[std] = tweedie_poisson(z, score, 1.0)
        squared = (estimates[std] - geometric).square()
        distances[std] = (log_probability.exp() * squared).sum().sqrt().item()
    return Lattice(z, (z + a) / (1 + b), geometric, estimates, distances)

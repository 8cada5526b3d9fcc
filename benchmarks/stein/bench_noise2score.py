"""Noise2Score beside deepinv's `ScoreLoss` (same network, patches and steps) and scikit-image's classical denoisers.

Noise of σ = 25/255 on bundled photographs. Trainings run once; what is timed is a step of one, and the denoising of
one photograph of 256 × 256 pixels by what they gave.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from regularity.data import load_photographs
from regularity.foundations.metrics import psnr
from regularity.foundations.networks import UNet
from regularity.foundations.noise import add_gaussian_noise
from regularity.foundations.stein import tweedie_gaussian
from regularity.foundations.training import fit
from regularity.stein.noise2score import (
    ardae_loss,
    as_score,
    classical_denoise,
    perturbation_schedule,
    sample_patches,
)
from tests.peers import import_deepinv

deepinv = import_deepinv()

NOISE_STD = 25 / 255
N_STEPS, LEARNING_RATE, SCORE_SCALE = 1000, 3e-3, 0.1
TRAIN = [
    "astronaut",
    "coins",
    "rocket",
    "brick",
    "grass",
    "immunohistochemistry",
    "hubble_deep_field",
    "clock",
]
TRAIN += ["motorcycle_left", "china", "flower"]
PSNR = "PSNR in dB"


def seeded(seed: int) -> torch.Generator:
    """Return a fresh generator."""
    return torch.Generator().manual_seed(seed)


class Backbone(nn.Module):
    """Our network in the form that the peer asks for: a score of images, with their physics unused."""

    def __init__(self) -> None:
        super().__init__()
        self.network = UNet(generator=seeded(0))

    def forward(self, images: Tensor, physics: nn.Module | None = None) -> Tensor:
        """Return the score."""
        return -self.network(images) / SCORE_SCALE


PHYSICS = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(NOISE_STD))


def train_method(network: nn.Module, batches: list[Tensor]) -> None:
    """Train a score as the chapter does."""
    score, generator = as_score(network, SCORE_SCALE), seeded(1)

    def loss(step: int) -> Tensor:
        level = perturbation_schedule(step, len(batches), start=0.1, end=0.02, fraction=0.8)
        return ardae_loss(score, batches[step], level, generator)

    fit(network, loss, n_steps=len(batches), learning_rate=LEARNING_RATE, generator=generator)


def train_peer(backbone: nn.Module, batches: list[Tensor]) -> nn.Module:
    """Train a score with the peer's loss as its documentation does, at its own default levels."""
    loss = deepinv.loss.ScoreLoss(total_batches=len(batches))
    model = loss.adapt_model(backbone).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=len(batches))
    for noisy in batches:
        optimiser.zero_grad()
        model(noisy, PHYSICS, update_parameters=True)
        loss(model=model).backward()
        optimiser.step()
        scheduler.step()
    return model.eval()


@dataclass(frozen=True)
class Trained:
    """Two trainings on the same patches from the same initial weights, and the photographs to try them on."""

    batches: list[Tensor]
    network: nn.Module
    peer: nn.Module
    clean: Tensor
    noisy: Tensor

    def denoise(self, noisy: Tensor) -> Tensor:
        """Denoise by our score."""
        with torch.inference_mode():
            return tweedie_gaussian(noisy, as_score(self.network, SCORE_SCALE)(noisy), NOISE_STD)

    def denoise_by_peer(self, noisy: Tensor) -> Tensor:
        """Denoise by the peer's score."""
        with torch.inference_mode():
            return self.peer(noisy, PHYSICS)


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    """Train both, once for all benchmarks."""
    layers = [
        add_gaussian_noise(photo, NOISE_STD, seeded(number))[None]
        for number, photo in enumerate(load_photographs(TRAIN).values())
    ]
    generator = seeded(2)
    batches = [sample_patches(layers, size=32, n_patches=4, generator=generator)[0] for _ in range(N_STEPS)]
    clean = torch.stack(list(load_photographs(["camera", "moon", "gravel"]).values()))[:, None]
    network, backbone = UNet(generator=seeded(0)), Backbone()
    train_method(network, batches)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        peer = train_peer(backbone, batches)
        yield Trained(batches, network, peer, clean, add_gaussian_noise(clean, NOISE_STD, seeded(3)))


def test_training_step(compare, trained):
    """Ten steps of both trainings, after whole trainings have reached the same quality."""
    quality = tuple(
        psnr(denoise(trained.noisy), trained.clean).mean()
        for denoise in (trained.denoise, trained.denoise_by_peer)
    )
    assert min(quality) > psnr(trained.noisy, trained.clean).mean() + 4
    assert quality[0] > quality[1] - 0.1
    network, backbone, batches = UNet(generator=seeded(0)), Backbone(), trained.batches[:10]
    compare(
        "training step",
        method="fit(ardae_loss)",
        peer="deepinv",
        run_method=lambda: train_method(network, batches),
        run_peer=lambda: train_peer(backbone, batches),
        n_units=len(batches),
        quality=quality,
        quality_name=f"{PSNR} after {N_STEPS} steps",
        note="ScoreLoss with our network, patches and schedule.",
    )


def test_denoising(compare, trained):
    """Tweedie's formula from one and the same score, by us and by the peer."""
    peer = deepinv.loss.ScoreLoss(delta=(0.0, 0.1)).adapt_model(Backbone()).eval()
    peer.base_model.network = trained.network
    clean, noisy = trained.clean[:1], trained.noisy[:1]

    def run_peer() -> Tensor:
        with torch.inference_mode():
            return peer(noisy, PHYSICS)

    torch.testing.assert_close(trained.denoise(noisy), run_peer())
    compare(
        "denoising",
        method="tweedie_gaussian",
        peer="deepinv",
        run_method=lambda: trained.denoise(noisy),
        run_peer=run_peer,
        quality=(psnr(trained.denoise(noisy), clean)[0], psnr(run_peer(), clean)[0]),
        quality_name=PSNR,
        note="The same trained score on both sides: their outputs agree to rounding.",
    )


@pytest.mark.parametrize(
    ("classical", "short", "strength"), [("non-local means", "NLM", 0.6), ("total variation", "TV", 0.8)]
)
def test_denoising_against_a_classical_method(compare, trained, classical, short, strength):
    """A trained score against a filter that needs no training, both told σ."""
    clean, noisy = trained.clean[:1], trained.noisy[:1]

    def run_peer() -> Tensor:
        return classical_denoise(noisy, "gaussian", NOISE_STD, classical, strength=strength)

    quality = psnr(trained.denoise(noisy), clean)[0], psnr(run_peer(), clean)[0]
    assert min(quality) > psnr(noisy, clean)[0] + 4
    compare(
        f"denoising ({short})",
        method="tweedie_gaussian",
        peer="scikit-image",
        run_method=lambda: trained.denoise(noisy),
        run_peer=run_peer,
        quality=quality,
        quality_name=PSNR,
        note=(
            f"Without the training of {N_STEPS} steps, which the classical method does without. The network makes "
            "28,000 multiplications a pixel."
        ),
    )

"""Noise2Score beside deepinv's `ScoreLoss` (same network, patches and steps) and scikit-image's classical denoisers.

Noise of σ = 25/255 on bundled photographs. Both trainings run once, to their end; what is timed is a step of one, and
the denoising of photographs of 128 × 128 pixels by what came out.
"""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from regularity import lab
from regularity.data import centre_crop, load_photographs
from regularity.foundations.metrics import psnr
from regularity.foundations.networks import UNet
from regularity.foundations.noise import add_gaussian_noise
from regularity.foundations.training import fit
from regularity.foundations.tweedie import tweedie_gaussian
from regularity.stein.noise2score import (
    ardae_loss,
    as_score,
    classical_denoise,
    perturbation_schedule,
    sample_patches,
)
from tests.draws import seeded
from tests.peers import import_deepinv

deepinv = import_deepinv()

NOISE_STD = 25 / 255
N_STEPS, LEARNING_RATE, SCORE_SCALE = 3000, 3e-3, 0.1
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
TEST = ["camera", "chelsea", "coffee", "moon", "gravel"]
PSNR = f"PSNR in dB after {N_STEPS} steps"


class Backbone(nn.Module):
    """Our network in the form that the peer asks for: a score of images, with their physics unused."""

    def __init__(self) -> None:
        super().__init__()
        self.network = UNet(generator=seeded(0))

    def forward(self, images: Tensor, physics: nn.Module | None = None) -> Tensor:
        """Return the score."""
        return -self.network(images) / SCORE_SCALE


PHYSICS = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(NOISE_STD))


def train_method(network: nn.Module, batches: list[Tensor]) -> nn.Module:
    """Train a score as the chapter does, at the levels of its larger runs."""
    score, generator = as_score(network, SCORE_SCALE), seeded(1)

    def loss(step: int) -> Tensor:
        level = perturbation_schedule(step, len(batches), start=0.1, end=0.02, fraction=0.8)
        return ardae_loss(score, batches[step], level, generator)

    fit(network, loss, n_steps=len(batches), learning_rate=LEARNING_RATE, generator=generator)
    return network


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
    """Two trainings on the same patches from the same initial weights, and photographs to try them on."""

    batches: list[Tensor]
    network: nn.Module
    peer: nn.Module
    clean: Tensor
    noisy: Tensor

    def denoise(self) -> Tensor:
        """Denoise all photographs by our score."""
        with torch.inference_mode():
            return tweedie_gaussian(self.noisy, as_score(self.network, SCORE_SCALE)(self.noisy), NOISE_STD)

    def denoise_by(self, peer: nn.Module) -> Tensor:
        """Denoise all photographs by a network that the peer has wrapped."""
        with torch.inference_mode():
            return peer(self.noisy, PHYSICS)

    def quality(self, denoised: Tensor) -> float:
        """Mean PSNR over the photographs."""
        return psnr(denoised, self.clean).mean()


@pytest.fixture(scope="module")
def trained() -> Trained:
    """Train both, once for all benchmarks."""
    layers = [
        add_gaussian_noise(photo, NOISE_STD, seeded(number))[None]
        for number, photo in enumerate(load_photographs(TRAIN).values())
    ]
    generator = seeded(2)
    batches = [sample_patches(layers, size=32, n_patches=4, generator=generator)[0] for _ in range(N_STEPS)]
    trainings = {
        "method": partial(train_method, UNet(generator=seeded(0)), batches),
        "peer": partial(train_peer, Backbone(), batches),
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)  # the peer draws from torch's global generator
        networks = lab.begin(0, "cpu").side_by_side(trainings, n_workers=2)
    clean = torch.stack([centre_crop(photo, 128) for photo in load_photographs(TEST).values()])[:, None]
    noisy = add_gaussian_noise(clean, NOISE_STD, seeded(3))
    return Trained(batches, networks["method"], networks["peer"], clean, noisy)


def test_training_step(compare, trained):
    """Ten steps of both trainings, after whole trainings have reached the same quality."""
    quality = trained.quality(trained.denoise()), trained.quality(trained.denoise_by(trained.peer))
    assert min(quality) > trained.quality(trained.noisy) + 4
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
        quality_name=PSNR,
        note="ScoreLoss, at its own default levels, with our network, patches and learning rates.",
    )


def test_denoising(compare, trained):
    """Tweedie's formula from one and the same score, by us and by the peer."""
    peer = deepinv.loss.ScoreLoss(delta=(0.0, 0.1)).adapt_model(Backbone()).eval()
    peer.base_model.network = trained.network
    torch.testing.assert_close(trained.denoise(), trained.denoise_by(peer))
    compare(
        "denoising",
        method="tweedie_gaussian",
        peer="deepinv",
        run_method=trained.denoise,
        run_peer=lambda: trained.denoise_by(peer),
        n_units=len(trained.noisy),
        quality=(trained.quality(trained.denoise()), trained.quality(trained.denoise_by(peer))),
        quality_name=PSNR,
        note="The same score on both sides; the outputs agree to rounding.",
    )


@pytest.mark.parametrize(
    ("classical", "short", "strength"), [("non-local means", "NLM", 0.6), ("total variation", "TV", 0.8)]
)
def test_denoising_against_a_classical_method(compare, trained, classical, short, strength):
    """A trained score against a filter that needs no training, both told σ."""

    def run_peer() -> Tensor:
        return classical_denoise(trained.noisy, "gaussian", NOISE_STD, classical, strength=strength)

    quality = trained.quality(trained.denoise()), trained.quality(run_peer())
    assert quality[0] > quality[1] - 0.1
    compare(
        f"denoising ({short})",
        method="tweedie_gaussian",
        peer="scikit-image",
        run_method=trained.denoise,
        run_peer=run_peer,
        n_units=len(trained.noisy),
        quality=quality,
        quality_name=PSNR,
        note=(
            f"Against {classical}, which needs no training: that of the score, {N_STEPS} steps, is not counted. "
            "The network multiplies 28,000 times a pixel."
        ),
    )

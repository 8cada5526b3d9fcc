"""Valid arguments of noise2score's functions of tensors."""

import torch

from regularity.foundations.tweedie import tweedie_gaussian
from tests.draws import random, seeded
from tests.inputs import Example

IMAGES = random(2, 1, 6, 6).sigmoid()
NOISY = {"noisy": IMAGES, "generator": seeded}


def network(images: torch.Tensor) -> torch.Tensor:
    return 0.1 * torch.tanh(images)


EXAMPLES = {
    "ardae_residual": Example(
        {
            "score": network,
            "noisy": random(3, 2),
            "perturbation": random(3, 2, seed=1),
            "perturbation_std": 0.1,
        }
    ),
    "ardae_loss": Example(
        {"score": network, "noisy": random(3, 2), "perturbation_std": 0.1, "generator": seeded}, random=True
    ),
    "variation_of": Example({"images": IMAGES}),
    "quality_penalty (gaussian)": Example(
        {"denoised": IMAGES, "noisy": IMAGES.flip(0), "family": "gaussian"}
    ),
    "quality_penalty (gamma)": Example({"denoised": IMAGES, "noisy": IMAGES.flip(0), "family": "gamma"}),
    "estimate_noise_parameter": Example(
        {"noisy": IMAGES, "score": -IMAGES, "denoise": tweedie_gaussian, "grid": [0.1, 0.2, 0.3]}
    ),
    "make_noisy_pool": Example(
        {"photographs": [IMAGES[0, 0]], "ranges": {"gaussian": (0.1, 0.2)}, "generator": seeded}, random=True
    ),
    "sample_patches": Example(
        {"layers": [IMAGES[0]], "size": 3, "n_patches": 2, "generator": seeded}, random=True
    ),
    "noise2void_loss": Example(NOISY | {"denoiser": network}, random=True),
    "noise2self_loss": Example(NOISY | {"denoiser": network}, random=True),
    "j_invariant_denoise": Example({"denoiser": network, "noisy": IMAGES}),
    "sure_loss": Example(NOISY | {"denoiser": network, "noise_std": 0.1}, random=True),
    "classical_denoise": Example(
        {
            "noisy": IMAGES,
            "family": "gaussian",
            "parameter": 0.1,
            "method": "total variation",
            "strength": 0.8,
        }
    ),
}

"""Noise2Score: denoise from the score of the noisy images alone.

Kwanyoung Kim and Jong Chul Ye, "Noise2Score: Tweedie's Approach to Self-Supervised Image Denoising without Clean
Images", NeurIPS 2021, arXiv 2106.07009.
"""

from regularity.stein.noise2score.method import (
    NoiseEstimate,
    ardae_loss,
    ardae_residual,
    as_denoiser,
    as_score,
    estimate_noise_parameter,
    perturbation_schedule,
    quality_penalty,
    variation_of,
)
from regularity.stein.noise2score.problems import Condition, NoisyPhotograph, make_noisy_pool, sample_patches
from regularity.stein.noise2score.rivals import (
    classical_denoise,
    j_invariant_denoise,
    noise2self_loss,
    noise2void_loss,
    sure_loss,
)

__all__ = [
    "Condition",
    "NoiseEstimate",
    "NoisyPhotograph",
    "ardae_loss",
    "ardae_residual",
    "as_denoiser",
    "as_score",
    "classical_denoise",
    "estimate_noise_parameter",
    "j_invariant_denoise",
    "make_noisy_pool",
    "noise2self_loss",
    "noise2void_loss",
    "perturbation_schedule",
    "quality_penalty",
    "sample_patches",
    "sure_loss",
    "variation_of",
]

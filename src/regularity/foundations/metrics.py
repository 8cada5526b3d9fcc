"""How close an estimate is to the truth: scikit-image's measures, on tensors."""

import numpy as np
from jaxtyping import Float
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor


def _pairs(estimate: Tensor, truth: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    if estimate.shape != truth.shape:
        raise ValueError(
            f"estimate must have the shape of truth; got {tuple(estimate.shape)} for {tuple(truth.shape)}"
        )
    clipped = estimate.detach().clamp(0, 1).double().cpu().numpy()
    return list(zip(clipped, truth.detach().double().cpu().numpy(), strict=True))


def psnr(estimate: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Peak signal-to-noise ratio of each image.

    Parameters
    ----------
    estimate
        Estimated intensities; clipped to [0, 1] first, as a display would.
    truth
        True intensities in [0, 1].

    Returns
    -------
    −10 log₁₀ of the mean squared error, in dB, one an image.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    return np.array(
        [peak_signal_noise_ratio(true, got, data_range=1.0) for got, true in _pairs(estimate, truth)]
    )


def ssim(estimate: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Structural similarity of each image, with the Gaussian window of the original paper.

    Parameters
    ----------
    estimate
        Estimated intensities; clipped to [0, 1] first.
    truth
        True intensities in [0, 1], sides of at least 11.

    Returns
    -------
    Mean structural similarity, at most 1, one an image.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli (2004), Image quality assessment.
    """
    return np.array(
        [
            structural_similarity(
                true,
                got,
                data_range=1.0,
                channel_axis=0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for got, true in _pairs(estimate, truth)
        ]
    )

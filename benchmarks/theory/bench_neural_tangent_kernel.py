"""Neural tangent kernels beside `torch.func`, which forms the Jacobian of the outputs in all parameters.

neural-tangents, which has both kernels, needs a JAX older than the rest of the environment: its numbers are frozen in
the tests instead.
"""

from collections.abc import Callable

import pytest
import torch
from torch.func import functional_call, jacrev, vmap

from regularity.theory.neural_tangent_kernel import draw_networks, empirical_kernel

N_POINTS, WIDTH, DIMENSION = 1000, 64, 64
GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(N_POINTS, DIMENSION, generator=GENERATOR)
NETWORKS = draw_networks([DIMENSION, WIDTH, WIDTH, 1], bias_std=0.1, generator=GENERATOR)


class Scaled(torch.nn.Module):
    """A linear layer in the parametrisation of the kernel."""

    def __init__(self, weights: torch.Tensor, biases: torch.Tensor) -> None:
        super().__init__()
        self.weights, self.biases = torch.nn.Parameter(weights), torch.nn.Parameter(biases)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """W x/√d + β b."""
        return x @ self.weights.T / self.weights.shape[1] ** 0.5 + NETWORKS.bias_std * self.biases


LAYERS = [Scaled(w[0], b[0]) for w, b in zip(NETWORKS.weights, NETWORKS.biases, strict=True)]
MODULE = torch.nn.Sequential(LAYERS[0], torch.nn.ReLU(), LAYERS[1], torch.nn.ReLU(), LAYERS[2])
PARAMETERS = {name: values.detach() for name, values in MODULE.named_parameters()}


def kernel_by_jacobian() -> torch.Tensor:
    """All derivatives of all outputs, then their inner products."""

    def output(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(MODULE, parameters, (x,)).squeeze()

    parts = vmap(jacrev(output), (None, 0))(PARAMETERS, POINTS)
    jacobian = torch.cat([part.flatten(1) for part in parts.values()], dim=1)
    return jacobian @ jacobian.T


def test_empirical_kernel(compare: Callable[..., None]) -> None:
    """Inner products of signals and of errors, layer by layer, against those of derivatives."""
    ours, theirs = empirical_kernel(NETWORKS, POINTS)[0], kernel_by_jacobian()
    difference = ((ours - theirs).norm() / theirs.norm()).item()
    assert difference == pytest.approx(0, abs=1e-5)
    compare(
        "tangent kernel of a network at 1,000 points",
        method="empirical_kernel",
        peer="torch",
        run_method=lambda: empirical_kernel(NETWORKS, POINTS),
        run_peer=kernel_by_jacobian,
        quality=(ours.trace().item(), theirs.trace().item()),
        quality_name="trace",
        note="No derivative is formed: the kernel is a sum over layers of products of two Gram matrices.",
    )

"""Kernels of infinitely wide networks against closed forms, quadrature and neural-tangents."""

import math

import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from torch.func import grad, vmap

from regularity.foundations.kernels import gaussian_kernel, hermite_coefficients, wide_network_kernels
from tests.draws import random

ANGLES = torch.tensor([-2.4, -1.0, 0.6, 2.0], dtype=torch.float64)
POINTS = torch.cat([torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1), torch.tensor([[1.5, -0.5]]).double()])
UPPER = torch.triu_indices(5, 5)

# neural-tangents 0.6.5 on JAX 0.4.25 in double precision, at POINTS, upper triangles row by row:
#   layer = lambda n: stax.Dense(n, W_std=1.0, b_std=bias_std, parameterization="ntk")
#   hidden = [part for _ in range(depth - 1) for part in (layer(512), stax.Relu())]  # or stax.Erf()
#   stax.serial(*hidden, layer(1))[2](POINTS, POINTS, ("ntk", "nngp"))
# fmt: off
FROZEN = {
    ("relu", 2, 0.0, "ntk"): [
        0.5, 0.1255316139601471, -0.01107967650073292, 0.01417292204780689, -0.0200668109317515, 0.5,
        0.07237937609974684, -0.01107967650073282, 0.561636881663859, 0.5, 0.1255316139601471,
        0.4378797016892741, 0.5, -0.04879146861038264, 1.25,
    ],
    ("relu", 2, 0.0, "nngp"): [
        0.25, 0.1019756059041328, 7.514846260754833e-05, 0.04494950450290731, 0.04495031541126868, 0.25,
        0.07596145802693131, 7.514846260756568e-05, 0.3202910680017897, 0.25, 0.1019756059041328,
        0.2690589964676403, 0.25, 0.02159498001626017, 0.625,
    ],
    ("relu", 3, 0.5, "ntk"): [
        1.0625, 0.7149677445152849, 0.529911015875864, 0.6194738360983162, 0.6057263787545285, 1.0625,
        0.67110599020489, 0.529911015875864, 1.042112269396628, 1.0625, 0.7149677445152849, 0.9465414910467859,
        1.0625, 0.5716333941428673, 1.625,
    ],
    ("relu", 3, 0.5, "nngp"): [
        0.5625, 0.4948976768503314, 0.4409938672323513, 0.4686437688252241, 0.4878469955501503, 0.5625,
        0.4831526774940254, 0.4409938672323513, 0.6027140503129773, 0.5625, 0.4948976768503314,
        0.5809015300164864, 0.5625, 0.4767654971747318, 0.75,
    ],
    ("relu", 4, 0.1, "ntk"): [
        0.2825, 0.1045428147670295, 0.06422492061347192, 0.07730583185356517, 0.09863691992725852, 0.2825,
        0.09093435247086416, 0.06422492061347192, 0.2736169903990202, 0.2825, 0.1045428147670295,
        0.223556470933327, 0.2825, 0.09159885502448493, 0.6575000000000001,
    ],
    ("relu", 4, 0.1, "nngp"): [
        0.08125000000000002, 0.05823674046673695, 0.04811563445469657, 0.05225908294037885, 0.07026993142861601,
        0.08125000000000002, 0.05537683652677339, 0.04811563445469657, 0.1033811838016853, 0.08125000000000002,
        0.05823674046673695, 0.09552461201510007, 0.08125000000000002, 0.06823900018684792, 0.175,
    ],
    ("erf", 2, 0.0, "ntk"): [
        0.7008859302811947, 0.1084662126867726, -0.692333686109042, -0.1972192159842809, -0.3807942593945873,
        0.7008859302811947, -0.01859031419746805, -0.6923336861090421, 0.6428349629612787, 0.7008859302811947,
        0.1084662126867726, 0.4818811937099574, 0.7008859302811947, -0.5516982074496366, 1.156243905503697,
    ],
    ("erf", 2, 0.0, "nngp"): [
        0.3333333333333334, 0.05416755738633796, -0.3296611438489573, -0.0982162449735491, -0.1875849700469299,
        0.3333333333333334, -0.009294826843699316, -0.3296611438489574, 0.3081399595472507, 0.3333333333333334,
        0.05416755738633796, 0.2352751704883269, 0.3333333333333334, -0.2673898478877292, 0.5064965711423003,
    ],
    ("erf", 3, 0.5, "ntk"): [
        1.394229718832874, 0.8411309932762498, 0.3168658915161374, 0.613992972657976, 0.4271326517059942,
        1.394229718832874, 0.7425201363117035, 0.3168658915161374, 1.212459804452557, 1.394229718832874,
        0.8411309932762498, 1.066211321697038, 1.394229718832874, 0.3267319967224584, 1.613338586471551,
    ],
    ("erf", 3, 0.5, "nngp"): [
        0.6352162051010004, 0.4875311753863383, 0.3184296431852259, 0.4160799075381415, 0.3524160179508704,
        0.6352162051010004, 0.4570851572959826, 0.3184296431852259, 0.5877171670617065, 0.6352162051010004,
        0.4875311753863383, 0.5495817482345111, 0.6352162051010004, 0.3192631374394225, 0.6695682004510364,
    ],
}
# fmt: on


@pytest.mark.parametrize("case", FROZEN, ids=str)
def test_recursion_agrees_with_neural_tangents(case):
    activation, depth, bias_std, name = case
    found = wide_network_kernels(POINTS, depth=depth, bias_std=bias_std, activation=activation)
    expected = torch.tensor(FROZEN[case], dtype=torch.float64)
    rows, columns = UPPER
    torch.testing.assert_close(getattr(found, name)[rows, columns], expected, rtol=1e-12, atol=2e-15)


def cubic(u):
    return u**3 - u


@pytest.mark.parametrize("activation", [torch.erf, torch.tanh, cubic])
def test_two_layers_are_means_over_gaussian_pairs(activation):
    """By the trapezoidal rule on a fine grid of independent Gaussians, with σ' by automatic differentiation."""
    pair = torch.tensor([[1.0, 0.2], [0.4, -1.3]], dtype=torch.float64)
    first = pair @ pair.T / 2 + 0.09
    s, t = first.diagonal().sqrt()
    rho = first[0, 1] / (s * t)
    line = torch.linspace(-9, 9, 181, dtype=torch.float64)
    z, w = torch.meshgrid(line, line, indexing="ij")
    density = torch.exp(-(z**2 + w**2) / 2) / (2 * math.pi) * 0.1**2
    u, v = s * z, t * (rho * z + (1 - rho**2).sqrt() * w)
    slope = vmap(vmap(grad(activation)))
    nngp = (activation(u) * activation(v) * density).sum() + 0.09
    ntk = first[0, 1] * (slope(u) * slope(v) * density).sum() + nngp
    found = wide_network_kernels(pair, depth=2, bias_std=0.3, activation=activation, n_terms=120)
    torch.testing.assert_close(found.nngp[0, 1], nngp, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.ntk[0, 1], ntk, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("activation", "name", "tolerance"), [(torch.erf, "erf", 1e-9), (torch.relu, "relu", 1e-2)]
)
def test_the_series_agrees_with_the_closed_forms(activation, name, tolerance):
    """The kink of the ReLU makes its series slow; away from the diagonal it gets there."""
    series, closed = (
        wide_network_kernels(POINTS, depth=3, bias_std=0.2, activation=chosen, n_terms=160)
        for chosen in (activation, name)
    )
    away = ~torch.eye(len(POINTS), dtype=torch.bool)
    torch.testing.assert_close(series.nngp, closed.nngp, rtol=tolerance, atol=0)
    torch.testing.assert_close(series.ntk[away], closed.ntk[away], rtol=tolerance, atol=tolerance / 10)


def test_hermite_coefficients_of_the_exponential():
    """E[exp(su) h_k(u)] = exp(s²/2) s^k/√k!."""
    stds = torch.tensor([0.5, 1.0], dtype=torch.float64)
    orders = torch.arange(12, dtype=torch.float64)
    expected = (
        torch.exp(stds**2 / 2)[:, None] * stds[:, None] ** orders / torch.lgamma(orders + 1).exp().sqrt()
    )
    torch.testing.assert_close(hermite_coefficients(torch.exp, stds)[:, :12], expected, rtol=1e-9, atol=1e-12)


def test_one_layer_is_linear_and_the_square_is_the_quadratic_kernel():
    """E[u²v²] = Σ_xx Σ_zz + 2 Σ_xz² and E[2u·2v] = 4 Σ_xz."""
    inputs, others = random(4, 3), random(2, 3, seed=1)
    linear = inputs @ others.T / 3
    torch.testing.assert_close(wide_network_kernels(inputs, others, depth=1).ntk, linear)
    found = wide_network_kernels(inputs, others, depth=2, activation=torch.square, n_terms=4)
    lengths = inputs.square().mean(dim=1)[:, None] * others.square().mean(dim=1)
    torch.testing.assert_close(found.nngp, lengths + 2 * linear**2)
    torch.testing.assert_close(found.ntk, lengths + 6 * linear**2)


def test_invariances_and_the_diagonal():
    inputs = random(6, 4)
    rotation, _ = torch.linalg.qr(random(4, 4, seed=1))
    kernels = wide_network_kernels(inputs, depth=4, bias_std=0.5)
    turned = wide_network_kernels(inputs @ rotation, depth=4, bias_std=0.5)
    torch.testing.assert_close(turned.ntk, kernels.ntk, rtol=1e-7, atol=0)
    free, scaled = (wide_network_kernels(c * inputs, depth=4).ntk for c in (1, 3))
    torch.testing.assert_close(scaled, 9 * free, rtol=1e-7, atol=1e-12)
    # On the diagonal Σ ← Σ/2 + β², Θ ← Θ/2 + Σ; repeated points are as good as the same point.
    nngp = ntk = inputs.square().mean(dim=1) + 0.25
    for _ in range(3):
        nngp = nngp / 2 + 0.25
        ntk = ntk / 2 + nngp
    torch.testing.assert_close(kernels.ntk.diagonal(), ntk, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        wide_network_kernels(inputs, inputs.clone(), depth=4, bias_std=0.5).ntk, kernels.ntk, rtol=0, atol=0
    )


def test_the_gaussian_kernel_is_scikit_learns():
    points, others = random(6, 3), random(4, 3, seed=1)
    peer = rbf_kernel(points.numpy(), others.numpy(), gamma=1 / (2 * 0.8**2))
    torch.testing.assert_close(gaussian_kernel(points, others, lengthscale=0.8), torch.as_tensor(peer))


@pytest.mark.bad_input
def test_what_cannot_be_a_kernel_of_distances_is_refused():
    with pytest.raises(ValueError, match="lengthscale must be positive and finite; got 0"):
        gaussian_kernel(POINTS, POINTS, lengthscale=0)
    with pytest.raises(ValueError, match=r"others must be two-dimensional.*got \(5, 1\)"):
        gaussian_kernel(POINTS, POINTS[:, :1], lengthscale=1.0)


@pytest.mark.bad_input
def test_what_cannot_be_a_network_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1; got 0"):
        wide_network_kernels(POINTS, depth=0)
    with pytest.raises(ValueError, match=r"bias_std must be at least 0; got -0\.1"):
        wide_network_kernels(POINTS, depth=2, bias_std=-0.1)
    with pytest.raises(
        ValueError, match="activation must be one of 'relu', 'erf'; got 'reLU'; did you mean 'relu'"
    ):
        wide_network_kernels(POINTS, depth=2, activation="reLU")
    with pytest.raises(
        ValueError, match=r"inputs and others must be \(n, d\) and \(m, d\); got \(5,\) and \(5,\)"
    ):
        wide_network_kernels(POINTS[:, 0], depth=2)
    with pytest.raises(ValueError, match=r"got \(5, 2\) and \(5, 1\)"):
        wide_network_kernels(POINTS, POINTS[:, :1], depth=2)
    with pytest.raises(ValueError, match="others must not be zero where bias_std is 0; got a row of zeros"):
        wide_network_kernels(POINTS, 0 * POINTS, depth=2)
    with pytest.raises(ValueError, match="stds must be positive; got 0"):
        hermite_coefficients(torch.tanh, torch.zeros(2))
    with pytest.raises(ValueError, match="activation must be finite; got NaN or infinity"):
        hermite_coefficients(torch.log, torch.ones(2))

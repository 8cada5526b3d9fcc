"""What one would use instead: descent without preconditioner, Newton's method on a grid, and deep Ritz networks."""

from math import cos, pi

import torch
from torch import Tensor

from regularity.foundations.checks import check_at_least, check_positive
from regularity.foundations.curvature import hessian_product
from regularity.foundations.hypergradients import conjugate_gradients
from regularity.theory.barron_pdes.method import (
    Descent,
    Networks,
    VariationalPDE,
    descend,
    energy,
    evaluate,
    first_variation,
)


def plain_descent(pde: VariationalPDE, *, learning_rate: float, n_steps: int) -> Descent:
    """u_{t+1} = u_t − η DE(u_t): gradient descent in L², without the preconditioner."""
    check_positive("learning_rate", learning_rate)
    return descend(pde, torch.full_like(pde.forcing, learning_rate), n_steps)


def spectral_newton(pde: VariationalPDE, *, tolerance: float = 1e-10, n_steps: int = 50) -> Tensor:
    """Solve DE(u) = 0 in all modes of the grid, by Newton's method with conjugate gradients; the coefficients.

    In coordinates where the H¹ norm is Euclidean. A step is halved until the energy falls.
    """
    check_positive("tolerance", tolerance)
    scale = (pde.masses * pde.stiffness).rsqrt()
    u = torch.zeros_like(pde.forcing)

    def in_scale(coordinates: Tensor) -> Tensor:
        return energy(pde, scale * coordinates.reshape(scale.shape))

    for _ in range(n_steps):
        residual = scale * pde.masses * first_variation(pde, u)
        if residual.norm() <= tolerance:
            return u

        product = hessian_product(in_scale, (u / scale).flatten())
        accuracy = 1e-3 * residual.norm().item()
        inner = conjugate_gradients(product, residual.flatten(), tolerance=max(accuracy, tolerance / 2))
        step = scale * inner.values.reshape(u.shape)
        before = energy(pde, u)
        size = next(
            size for size in (0.5**k for k in range(40)) if energy(pde, u - size * step) <= before + 1e-14
        )
        u = u - size * step
    raise FloatingPointError(f"Newton's method has not converged in {n_steps} steps")


def deep_ritz(
    pde: VariationalPDE,
    *,
    width: int,
    learning_rate: float,
    n_steps: int,
    batch_size: int,
    n_runs: int = 1,
    generator: torch.Generator | None = None,
) -> Networks:
    """Train tanh networks of two layers on the energy itself, by Adam, at fresh random points in every step.

    The equation must be one in cosines: no condition is then to be imposed on the boundary. The learning rate falls
    to zero as half a wave of the cosine.
    """
    check_at_least("width", width, 1)
    check_at_least("batch_size", batch_size, 1)
    check_positive("learning_rate", learning_rate)
    if not pde.basis.is_even:
        raise ValueError("pde must be in cosines; got sines, which need a condition on the boundary")
    device, d = pde.forcing.device, pde.forcing.ndim
    shape = (n_runs, width)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator).to(device)

    weights, outer = draw(*shape, d) / d**0.5, draw(*shape) / width
    centres = pde.basis.length * torch.rand(*shape, d, generator=generator).to(device)
    biases = -(weights * centres).sum(dim=-1)  # each unit bends somewhere in the cube
    parameters = [weights, biases, outer, torch.zeros(n_runs, device=device)]
    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 + cos(pi * step / n_steps)) / 2)
    forcing = pde.forcing.float()
    for _ in range(n_steps):
        points = pde.basis.length * torch.rand(batch_size, d, generator=generator).to(device)
        hidden = (points @ weights.mT + biases[:, None]).tanh()
        u = parameters[3][:, None] + (hidden @ outer[:, :, None])[..., 0]
        gradient = ((1 - hidden.square()) * outer[:, None]) @ weights
        density = pde.lagrangian.density(points.T, u, gradient.movedim(-1, 0))
        loss = (density - evaluate(forcing, pde.basis, points) * u).mean(dim=1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return Networks(*(parameter.detach() for parameter in parameters), "tanh")

"""Valid arguments of the foundations' functions of tensors."""

from functools import partial

import torch

from regularity.foundations.gaussian_processes import KernelParameters, condition
from regularity.foundations.hypergradients import conjugate_gradients
from regularity.foundations.spectra import wishart_law
from tests.draws import random, seeded
from tests.inputs import Example, doubles

IMAGES = random(2, 1, 12, 12).sigmoid()
NOISY = random(2, 3).exp()
COUNTS = {"successes": doubles(0, 3, 7, 20)[None], "trials": doubles(4, 9, 7, 55)}
GRIDS = random(2, 5, 4)
DATA = {"inputs": random(4, 2), "targets": random(4, seed=1)}
PARAMETERS = KernelParameters(doubles(0.8, 1.3), torch.tensor(1.2).double(), torch.tensor(0.1).double())
PROCESS = {"process": condition(**DATA, parameters=PARAMETERS), "points": random(3, 2, seed=2)}
BOWL = doubles(2.0, 0.5, 1.0)
SYMMETRIC = random(3, 3) + random(3, 3).T
NOISY_LAW = {"law": wishart_law(0.5), "noise": 0.6}
PRODUCT = {"product": lambda v: BOWL[: len(v)].to(v) * v}


def lower(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return (BOWL.to(x) * (x - theta).square()).sum()


def upper(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    return (x - 1).square().sum()


def shrink(successes: torch.Tensor, trials: torch.Tensor) -> torch.Tensor:
    return (successes + 1) / (trials + 2)


def any_number(result: object) -> bool:
    """Accept any finite answer: what was spoilt does not matter to it."""
    return True


EXAMPLES = {
    # curvature
    "hessian_product": Example({"loss": lambda x: x.pow(4).sum(), "point": random(3)}),
    "gauss_newton_product": Example(
        {"predict": torch.tanh, "loss": lambda y: y.square().sum(), "point": random(3)}
    ),
    "lanczos": Example(PRODUCT | {"start": random(3), "n_steps": 1}),
    "extreme_eigenvalues": Example(PRODUCT | {"start": random(3), "n_steps": 1}),
    "spectral_density": Example(PRODUCT | {"like": random(3), "n_steps": 1, "generator": seeded}),
    "hutchinson_trace": Example(PRODUCT | {"like": random(3), "generator": seeded}),
    # gaussian_processes
    "condition": Example(DATA | {"parameters": PARAMETERS}),
    "confidence_bound": Example(PROCESS | {"width": -0.5}),
    "fit_gaussian_process": Example(DATA | {"n_steps": 3}, tolerance=1e-3),
    "log_marginal_likelihood": Example(DATA | {"parameters": PARAMETERS}),
    "predict": Example(PROCESS),
    "sample_jointly": Example(PROCESS | {"normals": random(2, 3, seed=3)}, tolerance=1e-2),
    # hypergradients
    "conjugate_gradients": Example(
        {"product": lambda q: BOWL[: len(q)].to(q) * q, "right": random(3), "tolerance": 1e-3},
        tolerance=1e-3,
    ),
    "implicit_hypergradient": Example(
        {
            "lower": lower,
            "upper": upper,
            "solution": random(3),
            "hyperparameters": random(3, seed=1),
            "solve": partial(conjugate_gradients, tolerance=1e-3),
        }
    ),
    "neumann_series": Example({"product": lambda q: q / 2, "right": random(3), "step": 1.0, "n_terms": 4}),
    "unrolled_hypergradient": Example(
        {
            "update": lambda x, theta: x - 0.1 * (x - theta),
            "upper": upper,
            "start": random(3),
            "hyperparameters": random(3, seed=1),
            "n_steps": 2,
        }
    ),
    # kernels
    "gaussian_kernel": Example({"points": random(3, 2), "others": random(4, 2, seed=1), "lengthscale": 0.7}),
    "hermite_coefficients": Example({"activation": torch.tanh, "stds": doubles(0.5, 1.0)}),
    "wide_network_kernels": Example({"inputs": random(3, 2), "others": random(4, 2, seed=1), "depth": 3}),
    # metrics
    "hypervolume": Example(
        {"points": random(2, 4, 2), "reference": doubles(2, 3)},
        right={"infinity points": any_number},  # a point beyond the reference adds nothing
    ),
    "hypervolume (three objectives)": Example(
        {"points": random(5, 3), "reference": doubles(2, 3, 2)}, right={"infinity points": any_number}
    ),
    "hypervolume_improvement": Example(
        {"candidates": random(3, 2), "front": random(4, 2, seed=1), "reference": doubles(2, 3)},
        right={"infinity candidates": any_number, "infinity front": any_number},  # as above
    ),
    "nondominated": Example(
        {"points": random(5, 2)},
        right={"infinity": any_number},  # the worst value of an objective
    ),
    "psnr": Example({"estimate": IMAGES.flip(0), "truth": IMAGES}),
    # networks
    "apply_to_any_size": Example({"network": torch.tanh, "images": random(2, 1, 5, 6), "multiple": 4}),
    # noise
    "add_gamma_noise": Example({"clean": IMAGES, "shape": 5.0, "generator": seeded}, random=True),
    "add_gaussian_noise": Example({"clean": IMAGES, "noise_std": 0.3, "generator": seeded}, random=True),
    "add_poisson_noise": Example({"clean": IMAGES, "gain": 0.1, "generator": seeded}, random=True),
    "stabilise_variance (gamma)": Example({"noisy": NOISY, "family": "gamma", "parameter": 3.0}),
    "stabilise_variance (gaussian)": Example({"noisy": NOISY, "family": "gaussian", "parameter": 0.1}),
    "stabilise_variance (poisson)": Example({"noisy": NOISY, "family": "poisson", "parameter": 0.1}),
    "standard_normal_like": Example(
        {"reference": random(3), "generator": seeded},
        random=True,
        right={"NaN": any_number, "infinity": any_number},  # only its shape and its type count
    ),
    "undo_stabilisation (gamma)": Example({"transformed": NOISY, "family": "gamma", "parameter": 3.0}),
    "undo_stabilisation (poisson)": Example({"transformed": NOISY, "family": "poisson", "parameter": 0.1}),
    # optimisers
    "adam": Example({"learning_rate": doubles(0.1, 0.2), "damping": doubles(1e-8, 0.1)}),
    "heavy_ball": Example({"learning_rate": doubles(0.1, 0.2), "momentum": doubles(0.5, 0.9)}),
    # particles
    "median_bandwidth (squared)": Example(
        {
            "squared_distances": torch.stack([(random(5, 1) - random(1, 5)).square()] * 2),
            "scale": doubles(0.5, 2),
            "power": 2,
        }
    ),
    "median_bandwidth": Example({"squared_distances": (random(5, 1) - random(1, 5)).square()}),
    "stein_variational_direction": Example(
        {"kernel": random(3, 3), "drives": random(3, 2, seed=1), "repulsions": random(3, 2, seed=2)}
    ),
    # proximal
    "denoise_total_variation": Example(
        {"noisy": GRIDS, "weight": doubles(0.9, 0.4), "n_iterations": 20},
        right={"overflow noisy": any_number},  # the gap is a difference of terms of 1e30
    ),
    "divergence": Example({"field": random(2, 5, 4), "n_axes": 2}),
    "forward_gradient": Example({"values": GRIDS, "n_axes": 2}),
    "lengths": Example({"field": GRIDS, "dim": 1}),
    "project_ball": Example(
        {"field": GRIDS, "radius": doubles(0.9, 0.4)[:, None, None], "dim": 1},
        right={"infinity radius": any_number},  # a ball that holds everything
    ),
    "shrink": Example(
        {"field": GRIDS, "threshold": doubles(0.9, 0.4)[:, None, None], "dim": 1},
        right={"infinity threshold": any_number},  # everything is shrunk to zero
    ),
    "total_variation": Example({"values": GRIDS, "n_axes": 2}),
    "total_variation (mean)": Example({"values": GRIDS, "n_axes": 2, "form": "mean"}),
    # randomness
    "random_signs": Example(
        {"like": random(3), "generator": seeded},
        right={"NaN": any_number, "infinity": any_number},  # only its shape and its type count
    ),
    # risk
    "as_counts": Example(COUNTS),
    "binomial_variance": Example(COUNTS),
    "exact_divergence": Example({"estimator": torch.tanh, "observations": random(4, 3)}),
    "monte_carlo_divergence": Example(
        {
            "estimator": torch.tanh,
            "observations": random(4, 3),
            "value": random(4, 3).tanh(),
            "generator": seeded,
        },
        random=True,
    ),
    "sure_binomial (central)": Example({"rule": shrink, **COUNTS}),
    "sure_binomial (falling)": Example({"rule": shrink, **COUNTS, "form": "falling"}),
    "sure_binomial (third order)": Example({"rule": shrink, **COUNTS, "form": "third order"}),
    "sure_gaussian": Example(
        {
            "denoised": random(3, 4),
            "noisy": random(3, 4, seed=1),
            "noise_std": doubles(0.9, 0.4, 1.2),
            "divergence": random(3, seed=2),
        }
    ),
    # polynomials
    "hermite_basis": Example({"points": random(3), "degree": 3}),
    "legendre_basis": Example({"points": doubles(-0.7, 0.2, 1.0), "degree": 3}),
    "product_basis": Example({"bases": random(2, 2, 3), "indices": torch.tensor([[0, 0], [1, 2]])}),
    # spectra
    "denoise_symmetric": Example(NOISY_LAW | {"noisy": SYMMETRIC}),
    "noisy_density": Example(NOISY_LAW | {"points": doubles(-5.0, 0.3, 1.7)}),
    "shrink_eigenvalues": Example(NOISY_LAW | {"eigenvalues": doubles(-5.0, 0.3, 1.7)}),
    "truncate_symmetric": Example({"matrix": SYMMETRIC, "rank": 1}),
    # training
    "train": Example({"update": lambda step: torch.tensor(1.0), "n_steps": 5, "done": random(2)}),
    # tweedie
    "tweedie_gamma": Example({"noisy": NOISY, "score": random(2, 3), "shape": 5.0}),
    "tweedie_gaussian": Example(
        {"noisy": NOISY, "score": random(2, 3), "noise_std": doubles(0.9, 0.4)[:, None]}
    ),
    "tweedie_poisson": Example({"noisy": NOISY, "score": random(2, 3), "gain": doubles(0.9, 0.4)[:, None]}),
}

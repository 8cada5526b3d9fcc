"""The random numbers of the tests."""

import torch


def seeded(seed: int = 0) -> torch.Generator:
    """Make a source of randomness on the CPU."""
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Draw standard normal numbers in double precision."""
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)

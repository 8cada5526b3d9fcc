"""The examples in docstrings may say ``torch`` without importing it, as their readers have."""

import pytest


@pytest.fixture(autouse=True)
def torch_in_doctests(request: pytest.FixtureRequest, doctest_namespace: dict[str, object]) -> None:
    """Import torch for doctests alone: most other tests of the book do without."""
    if isinstance(request.node, pytest.DoctestItem):
        import torch

        doctest_namespace["torch"] = torch

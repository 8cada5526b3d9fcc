"""What all tests share: the budgets that they print, and docstrings' examples, which may say ``torch`` unimported."""

import pytest

pytest_plugins = ["tests.budgets"]


@pytest.fixture(autouse=True)
def torch_in_doctests(request: pytest.FixtureRequest, doctest_namespace: dict[str, object]) -> None:
    """Import torch for doctests alone: most other tests of the book do without."""
    if isinstance(request.node, pytest.DoctestItem):
        import torch

        doctest_namespace["torch"] = torch

"""What the lab shows, caught."""

import pytest


@pytest.fixture
def shown(monkeypatch):
    """Pairs of what is displayed (by MIME type) and its metadata."""
    caught = []

    def display(data, *, raw, metadata=None):
        assert raw
        caught.append((data, metadata or {}))

    monkeypatch.setattr("IPython.display.display", display)
    return caught

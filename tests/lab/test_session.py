"""Devices, seeds and progress bars."""

import pytest
import torch

from regularity.lab.session import progress, resolve_device, seeded_generator


def test_auto_is_a_gpu_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_a_seed_gives_its_numbers_again():
    first, again, other = (torch.rand(4, generator=seeded_generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_progress_is_silent_where_a_machine_executes(capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_progress_is_shown_in_jupyterlab(capsys, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "chapter.ipynb")
    assert list(progress(iter(range(3)), "counting", total=3)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["gpu", "cuda:97", "", "cpu:x"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=f"device must be one of auto, cpu.*; got '{name}'"):
        resolve_device(name)


@pytest.mark.bad_input
def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="seed must not be negative; got -1"):
        seeded_generator(-1)

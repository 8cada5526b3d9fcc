"""Devices, streams, tasks side by side and progress bars."""

import threading
import time

import pytest
import torch

from regularity import lab


@pytest.fixture
def session():
    n_threads = torch.get_num_threads()
    yield lab.begin(3, "cpu", n_threads=1)
    torch.set_num_threads(n_threads)


def test_auto_is_a_gpu_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert lab.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lab.resolve_device("auto") == torch.device("cuda")


def test_a_session_sets_threads_style_and_device(session):
    import matplotlib.pyplot as plt

    assert torch.get_num_threads() == 1
    assert session.device == torch.device("cpu")
    assert plt.rcParams["axes.spines.top"] is False


def test_streams_repeat_and_share_nothing(session):
    def draw(seed, *names):
        return torch.randn(2000, generator=lab.begin(seed, "cpu").stream(*names))

    assert torch.equal(draw(3, "networks", 3), draw(3, "networks", 3))
    draws = [draw(3, "networks", 3), draw(3, "networks", 4), draw(3, "batches", 3), draw(4, "networks", 3)]
    correlations = torch.corrcoef(torch.stack(draws)) - torch.eye(4)
    assert correlations.abs().max() < 0.1
    assert session.child_seed("a") != session.child_seed("b")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_tasks_give_their_results_in_order(session, n_workers):
    def task(number):
        time.sleep(0.02 * (3 - number))
        return number, torch.get_num_threads()

    tasks = {(f"t{number}", number): lambda number=number: task(number) for number in range(3)}
    results = session.side_by_side(tasks, "counting", n_workers=n_workers)
    assert list(results.items()) == [((f"t{number}", number), (number, 1)) for number in range(3)]


def test_tasks_run_at_the_same_time(session):
    barrier = threading.Barrier(2, timeout=30)
    results = session.side_by_side({1: barrier.wait, 2: barrier.wait}, n_workers=2)
    assert sorted(results.values()) == [0, 1]


def test_progress_is_silent_where_a_machine_executes(capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert list(lab.progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_progress_is_shown_in_jupyterlab(capsys, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "chapter.ipynb")
    assert list(lab.progress(iter(range(3)), "counting", total=3)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


@pytest.mark.bad_input
def test_a_failed_task_is_named_and_the_rest_is_dropped(session):
    started = []

    def fails():
        raise KeyError("lost")

    def works(number):
        started.append(number)
        time.sleep(0.05)  # or all would be done before the failure is looked at

    tasks = {"bad": fails} | {number: lambda number=number: works(number) for number in range(50)}
    with pytest.raises(KeyError) as raised:
        session.side_by_side(tasks, n_workers=1)
    assert raised.value.__notes__ == ["raised by the task 'bad'"]
    assert len(started) < 50


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["gpu", "cuda:97", "", "cpu:x"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=f"device must be one of auto, cpu.*; got '{name}'"):
        lab.begin(0, name)


@pytest.mark.bad_input
def test_numbers_that_are_no_seed_or_count_are_refused(session):
    with pytest.raises(ValueError, match=r"seed must .*; got -1"):
        lab.begin(-1)
    with pytest.raises(ValueError, match="n_threads must be at least 1; got 0"):
        lab.begin(0, "cpu", n_threads=0)
    with pytest.raises(ValueError, match="n_workers must be at least 1; got 0"):
        session.side_by_side({}, n_workers=0)

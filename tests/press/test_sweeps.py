"""Sweeps on real dask clusters: what is finished is kept, whatever is killed."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from regularity.lab.chapters import BookError, find_chapter
from regularity.lab.cli import main
from regularity.lab.sweeps import SummaryRow, as_csv, as_table, expand_grid, run_many, summarise

TOOL = [sys.executable, "-c", "from regularity.lab.cli import main; main()"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


def done_runs(book: Path) -> dict[str, int]:
    """Finished runs and when each was finished."""
    folders = [path for path in (book / "runs" / "tiny").glob("*") if path.name not in {"failed", "sweeps"}]
    return {folder.name: (folder / "provenance.json").stat().st_mtime_ns for folder in folders}


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def start(book: Path, *arguments: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A shell's background jobs ignore interrupts, and what they start inherits it: the tests may run in one.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    session = {"start_new_session": True, "preexec_fn": heed}
    return subprocess.Popen([*TOOL, *arguments], cwd=book, env=QUIET, **session, **pipes)


def test_a_grid_has_every_combination_once(tiny_book):
    chapter = find_chapter("tiny", tiny_book)
    runs = expand_grid(chapter, {"n_draws": 5}, ["scale=1,2", "fails=false"], range(2))
    assert runs == [
        {"n_draws": 5},
        {"n_draws": 5, "seed": 1},
        {"n_draws": 5, "scale": 2.0},
        {"n_draws": 5, "scale": 2.0, "seed": 1},
    ]


def test_a_sweep_finishes_the_others_when_one_run_fails(tiny_book, monkeypatch):
    monkeypatch.chdir(tiny_book)
    sweep = [
        "sweep",
        "tiny",
        "--over",
        "fails=false,true",
        "--over",
        "scale=1,2",
        "--seeds",
        "1",
        "--workers",
        "2",
    ]
    result = CliRunner().invoke(main, sweep)
    assert result.exit_code == 1
    assert result.output.count("raised RuntimeError: this run was asked to fail (traceback in ") == 2
    assert "2 of 4 runs failed; the same command tries them again" in result.output
    assert "dashboard http://127.0.0.1:" in result.output
    assert len(done_runs(tiny_book)) == 2
    (table,) = (tiny_book / "runs" / "tiny" / "sweeps").glob("*/summary.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {(row["fails"], row["scale"]) for row in rows} == {("False", "1.0"), ("False", "2.0")}
    spread = {row["scale"]: float(row["mean"]) for row in rows if row["claim"] == "The draws spread"}
    assert spread["2.0"] == pytest.approx(2 * spread["1.0"], rel=1e-5)  # the same draws, scaled
    assert table.with_suffix(".png").stat().st_size > 5000


def test_kill_9_and_interrupt_lose_and_repeat_nothing(tiny_book):
    sweep = ["sweep", "tiny", "--seeds", "6", "-p", "waits", "0.5", "--workers", "1"]
    killed = start(tiny_book, *sweep)
    wait_for(lambda: len(done_runs(tiny_book)) >= 1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    after_kill = done_runs(tiny_book)
    assert 1 <= len(after_kill) < 6

    interrupted = start(tiny_book, *sweep)
    wait_for(lambda: len(done_runs(tiny_book)) >= len(after_kill) + 1)
    interrupted.send_signal(signal.SIGINT)
    output, _ = interrupted.communicate(timeout=60)
    after_interrupt = done_runs(tiny_book)
    assert interrupted.returncode == 130, output
    assert f"interrupted; {len(after_interrupt)} of 6 runs are kept; the same command goes on" in output
    assert after_kill.items() <= after_interrupt.items()  # none was made again
    assert len(after_interrupt) < 6

    output, _ = start(tiny_book, *sweep).communicate(timeout=200)
    assert f"{len(after_interrupt)} of 6 runs are done already" in output
    finished = done_runs(tiny_book)
    assert after_interrupt.items() <= finished.items()
    assert len(finished) == 6
    assert not list((tiny_book / "runs" / "tiny").glob(".unfinished-*"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers as dask's own commands start them; each worker in a process group of its own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    options = {
        "env": QUIET,
        "start_new_session": True,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    dask = [sys.executable, "-m", "dask"]
    no_dashboard = ["--no-dashboard"]
    scheduler = [
        *dask,
        "scheduler",
        "--host",
        address,
        *no_dashboard,
        "--scheduler-file",
        str(tmp_path / "s.json"),
    ]
    processes = [subprocess.Popen(scheduler, **options)]
    for number in range(2):
        folder = [
            "--local-directory",
            str(tmp_path / f"worker{number}"),
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
        ]
        processes.append(subprocess.Popen([*dask, "worker", address, *folder, *no_dashboard], **options))
    yield address, processes[1:]
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_lost_worker_costs_no_run(tiny_book, cluster):
    address, workers = cluster
    sweep = start(tiny_book, "sweep", "tiny", "--seeds", "5", "-p", "waits", "1", "--scheduler", address)
    wait_for(lambda: len(done_runs(tiny_book)) >= 1)
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, output
    assert f"scheduler {address}" in output
    assert len(done_runs(tiny_book)) == 5


@pytest.mark.bad_input
def test_a_scheduler_that_is_not_there_is_an_error_by_name(tiny_book, monkeypatch):
    monkeypatch.setattr("distributed.Client", lambda *_, **__: (_ for _ in ()).throw(OSError("timed out")))
    with pytest.raises(BookError, match=r"no dask scheduler answers at 'tcp://127.0.0.1:9': timed out"):
        run_many(find_chapter("tiny", tiny_book), [{}], tiny_book / "runs", scheduler="tcp://127.0.0.1:9")


def write_run(folder: Path, values: list[float | None]) -> Path:
    folder.mkdir(parents=True)
    claims = [
        {
            "claim": f"claim {number}",
            "measured": value,
            "verdict": "not reproduced" if value is None else "reproduced",
        }
        for number, value in enumerate(values)
    ]
    (folder / "claims.json").write_text(json.dumps(claims))
    (folder / "provenance.json").write_text("{}")
    return folder


def test_a_summary_averages_over_seeds(tiny_book, tmp_path):
    runs = [{}, {"seed": 1}, {"scale": 2.0}, {"scale": 2.0, "seed": 1}]
    folders = [
        write_run(tmp_path / "0", [1.0, 5.0]),
        write_run(tmp_path / "1", [3.0, None]),
        None,
        write_run(tmp_path / "3", [7.0, 8.0]),
    ]
    rows = summarise(runs, folders, ["scale"], find_chapter("tiny", tiny_book))
    assert rows == [
        SummaryRow({"scale": "1.0"}, "claim 0", 2, 2.0, pytest.approx(1.0), 2),
        SummaryRow({"scale": "1.0"}, "claim 1", 2, None, None, 1),
        SummaryRow({"scale": "2.0"}, "claim 0", 1, 7.0, None, 1),
        SummaryRow({"scale": "2.0"}, "claim 1", 1, 8.0, None, 1),
    ]
    assert as_csv(rows).splitlines()[:3] == [
        "scale,claim,runs,mean,standard_error,reproduced",
        "1.0,claim 0,2,2,1,2",
        "1.0,claim 1,2,,,1",
    ]
    assert as_table(rows).splitlines()[:2] == ["scale=1.0", "    2/2 claim 0: 2 ± 1"]

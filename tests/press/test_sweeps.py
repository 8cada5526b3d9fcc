"""Sweeps on real dask clusters: what is finished is kept, whatever is killed."""

import csv
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from regularity.press.chapters import BookError, find_chapter
from regularity.press.cli import main
from regularity.press.runs import Run
from regularity.press.sweeps import (
    SummaryRow,
    as_csv,
    as_table,
    expand_grid,
    run_many,
    summarise,
    write_summary,
)

TOOL = [str(Path(sys.executable).with_name("regularity"))]
LONG = 600.0  # seconds to wait for what must come: a machine may be busy with much else


def done_runs(book: Path) -> dict[str, int]:
    """Finished runs and when each was finished."""
    folders = [
        path for path in (book / "runs" / "tiny").glob("[!.]*") if path.name not in {"failed", "sweeps"}
    ]
    return {folder.name: (folder / "provenance.json").stat().st_mtime_ns for folder in folders}


def wait_for(condition) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def quiet(tmp_path):
    """The environment of what a test starts: one thread, and temporary folders of its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}


@pytest.fixture
def start(quiet):
    def launch(book: Path, *arguments: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        # A shell's background jobs ignore interrupts, and what they start inherits it: the tests may run in one.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        session = {"start_new_session": True, "preexec_fn": heed}
        return subprocess.Popen([*TOOL, *arguments], cwd=book, env=quiet, **session, **pipes)

    return launch


def test_a_grid_has_every_combination_once(tiny_book):
    chapter = find_chapter("tiny", tiny_book)
    runs = expand_grid(chapter, {"n_draws": 5}, ["scale=1,2", "fails=false"], range(2))
    assert runs == [
        {"n_draws": 5},
        {"n_draws": 5, "seed": 1},
        {"n_draws": 5, "scale": 2.0},
        {"n_draws": 5, "scale": 2.0, "seed": 1},
    ]
    assert expand_grid(chapter, {}, ["names=[a, b],[c]"]) == [{}, {"names": ["c"]}]


def test_a_sweep_finishes_the_others_when_one_run_fails(light_book, monkeypatch):
    monkeypatch.chdir(light_book)
    sweep = ["sweep", "tiny", "--over", "fails=false,true", "--seeds", "1", "--workers", "1"]
    result = CliRunner().invoke(main, sweep)
    assert result.exit_code == 1
    assert result.output.count("raised RuntimeError: this run was asked to fail (traceback in ") == 1
    assert "1 of 2 runs failed; the same command tries them again" in result.output
    assert "dashboard http://127.0.0.1:" in result.output
    assert "    1/1 The draws spread: 0.962 m\n" in result.output
    assert len(done_runs(light_book)) == 1
    (table,) = (light_book / "runs" / "tiny" / "sweeps").glob("*/summary.csv")
    (row,) = [row for row in csv.DictReader(table.read_text().splitlines()) if row["unit"] == "m"]
    assert (row["fails"], row["runs"], row["reproduced"]) == ("False", "1", "1")
    assert table.with_suffix(".png").stat().st_size > 5000


def test_kill_9_and_interrupt_lose_and_repeat_nothing(light_book, start, quiet):
    sweep = ["sweep", "tiny", "--seeds", "4", "-p", "waits", "0.5", "--workers", "1"]
    killed = start(light_book, *sweep)
    wait_for(lambda: len(done_runs(light_book)) >= 1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    after_kill = done_runs(light_book)
    assert 1 <= len(after_kill) < 4

    interrupted = start(light_book, *sweep)
    wait_for(lambda: len(done_runs(light_book)) >= len(after_kill) + 1)
    interrupted.send_signal(signal.SIGINT)
    output, _ = interrupted.communicate(timeout=LONG)
    after_interrupt = done_runs(light_book)
    assert interrupted.returncode == 130, output
    assert f"interrupted; {len(after_interrupt)} of 4 runs are kept; the same command goes on" in output
    assert "Traceback" not in output
    assert after_kill.items() <= after_interrupt.items()  # none was made again
    assert len(after_interrupt) < 4

    output, _ = start(light_book, *sweep).communicate(timeout=LONG)
    assert f"{len(after_interrupt)} of 4 runs are done already" in output
    finished = done_runs(light_book)
    assert after_interrupt.items() <= finished.items()
    assert len(finished) == 4
    assert not list((light_book / "runs" / "tiny").glob(".*"))
    assert not list(Path(quiet["TMPDIR"]).glob("regularity-*"))


@pytest.mark.parametrize("command", ["run", "execute"])
def test_an_interrupt_leaves_nothing_and_says_how_to_go_on(light_book, start, quiet, command):
    source = light_book / "notebooks/stein/tiny.py"
    source.write_text(source.read_text().replace("waits: float = 0.0", "waits: float = 600.0"))
    temporary = Path(quiet["TMPDIR"])
    interrupted = start(light_book, command, "tiny")
    wait_for(lambda: list(temporary.glob("regularity-*/kernel.json")))
    interrupted.send_signal(signal.SIGINT)
    output, _ = interrupted.communicate(timeout=LONG)
    assert interrupted.returncode == 130
    assert output == "interrupted; the same command goes on with what is left to do\n"
    assert list(temporary.iterdir()) == []
    assert not (light_book / "runs").exists() or not list((light_book / "runs" / "tiny").iterdir())
    assert not source.with_suffix(".ipynb").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path, quiet):
    """A scheduler and two workers as dask's own commands start them, each in a process group of its own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = []

    def dask(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        processes.append(subprocess.Popen(command, env=quiet, start_new_session=True, **silent))
        return processes[-1]

    def worker() -> subprocess.Popen:
        folder = tmp_path / f"worker{len(processes)}"
        return dask(
            "worker", address, "--local-directory", str(folder), "--nthreads", "1", "--memory-limit", "0"
        )

    scheduler = dask("scheduler", "--host", address, "--scheduler-file", str(tmp_path / "scheduler.json"))
    wait_for((tmp_path / "scheduler.json").exists)
    yield address, scheduler, worker
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_lost_worker_costs_no_run_and_a_lost_scheduler_ends_the_command(light_book, cluster, start):
    address, scheduler, worker = cluster
    sweep = ["sweep", "tiny", "-p", "waits", "0.5", "--scheduler", address]
    command = start(light_book, *sweep, "--seeds", "3")
    first_line = command.stdout.readline()
    assert first_line == f"scheduler {address} has no workers yet: waiting for the first\n"
    workers = [worker(), worker()]
    wait_for(lambda: len(done_runs(light_book)) >= 1)
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = command.communicate(timeout=LONG)
    assert command.returncode == 0, output
    assert f"scheduler {address}, dashboard " in output
    assert len(done_runs(light_book)) == 3

    command = start(light_book, *sweep, "--seeds", "6")
    wait_for(lambda: len(done_runs(light_book)) >= 4)
    os.killpg(scheduler.pid, signal.SIGKILL)
    output, _ = command.communicate(timeout=LONG)
    assert command.returncode == 2, output
    n_done = len(done_runs(light_book))
    expected = f"Error: the scheduler is gone; {n_done} of 6 runs are kept, and the same command goes on\n"
    assert output.endswith(expected)
    assert "Traceback" not in output, output


@pytest.fixture
def mute_server():
    """Something that takes connections and never says a word, as a web server does that waits for a request."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        kept = []
        threading.Thread(target=lambda: kept.append(server.accept()[0]), daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


@pytest.mark.bad_input
def test_what_is_no_scheduler_is_an_error_by_name(tiny_book, mute_server, monkeypatch):
    monkeypatch.setattr("regularity.press.sweeps.PATIENCE", 0.5)
    run = Run(find_chapter("tiny", tiny_book), {}, tiny_book / "runs")
    nobody = f"tcp://127.0.0.1:{free_port()}"
    for address in (mute_server, nobody):
        with pytest.raises(
            BookError, match=rf"no dask scheduler answers at '{address}': nothing .* within 0.5 s"
        ):
            run_many([run], scheduler=address)
    with pytest.raises(
        BookError, match=r"no dask scheduler answers at 'http://localhost:80': unknown address scheme"
    ):
        run_many([run], scheduler="http://localhost:80")


def write_run(run: Run, values: list[float | None]) -> None:
    texts = dict.fromkeys(("source", "paper", "rule", "kind", "revised", "reason"), "")
    unchecked = {"claim": "x", "measured": None, "error": None, "unit": "", "verdict": "not checked", **texts}
    claims = [
        unchecked
        | {
            "claim": f"claim {number}",
            "measured": value,
            "unit": "dB",
            "verdict": "not reproduced" if value is None else "reproduced",
        }
        for number, value in enumerate(values)
    ]
    numbers = {"seconds": 1.0, "peak_memory_mib": 1, "versions": {}}
    result = {"notebook": "{}", "digest": run.version, "claims": [*claims, unchecked], "device": "none"}
    run.store(result | numbers)


def test_a_summary_averages_over_seeds(tiny_book, tmp_path):
    chapter = find_chapter("tiny", tiny_book)
    settings = [{}, {"seed": 1}, {"scale": 2.0}, {"scale": 2.0, "seed": 1}]
    runs = [Run(chapter, setting, tmp_path) for setting in settings]
    for run, values in zip(runs, [[1.0, 5.0], [3.0, None], None, [7.0, 8.0]], strict=True):
        if values is not None:
            write_run(run, values)
    rows = summarise(runs, ["scale"])
    assert rows == [
        SummaryRow({"scale": "1.0"}, "claim 0", 2, 2.0, pytest.approx(1.0), "dB", 2),
        SummaryRow({"scale": "1.0"}, "claim 1", 2, None, None, "dB", 1),
        SummaryRow({"scale": "2.0"}, "claim 0", 1, 7.0, None, "dB", 1),
        SummaryRow({"scale": "2.0"}, "claim 1", 1, 8.0, None, "dB", 1),
    ]
    assert as_csv(rows).splitlines()[:3] == [
        "scale,claim,runs,mean,standard_error,unit,reproduced",
        "1.0,claim 0,2,2,1,dB,2",
        "1.0,claim 1,2,,,dB,1",
    ]
    assert as_table(rows).splitlines()[:2] == ["scale=1.0", "    2/2 claim 0: 2 ± 1 dB"]


@pytest.mark.bad_input
def test_a_summary_that_cannot_be_written_is_an_error_by_name(tmp_path):
    (tmp_path / "sweeps").write_text("a file is in the way")
    with pytest.raises(BookError, match=r"cannot write .*sweeps/0a: Not a directory"):
        write_summary([], tmp_path / "sweeps" / "0a")


def test_an_interrupt_from_a_terminal_reaches_the_workers_too_and_leaves_nothing(light_book, start, quiet):
    command = start(light_book, "sweep", "tiny", "--seeds", "1", "-p", "waits", "600", "--workers", "1")
    temporary = Path(quiet["TMPDIR"])
    wait_for(lambda: list(temporary.glob("regularity-*/kernel.json")))
    os.killpg(command.pid, signal.SIGINT)
    output, _ = command.communicate(timeout=LONG)
    assert command.returncode == 130, output
    assert output.endswith("interrupted; 0 of 1 runs are kept; the same command goes on\n")
    assert "before anything was begun" not in output
    assert "Traceback" not in output
    assert not list(temporary.glob("regularity-*"))


@pytest.mark.bad_input
def test_an_interrupt_while_the_cluster_starts_says_one_line(light_book, monkeypatch):
    import atexit

    import distributed
    from distributed.deploy import spec

    def interrupt(**_options):
        raise KeyboardInterrupt

    forgotten = []
    monkeypatch.setattr(distributed, "LocalCluster", interrupt)
    monkeypatch.setattr(atexit, "unregister", forgotten.append)
    monkeypatch.chdir(light_book)
    done = CliRunner().invoke(main, ["sweep", "tiny"])
    assert (done.exit_code, done.output) == (
        130,
        "interrupted; 0 of 1 runs are kept; the same command goes on\n",
    )
    assert forgotten == [spec.close_clusters]  # which raises at exit for a cluster that is half begun

"""One run: stored whole or not at all, never repeated, of the code that it says, and a failure kept apart."""

import errno
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from regularity.press import runs
from regularity.press.chapters import BookError, find_chapter
from regularity.press.cli import main
from regularity.press.execution import RunFailedError, as_text
from regularity.press.runs import Run, current_commit, device_name, execute_run


@pytest.fixture
def call(light_book, monkeypatch):
    def run(*arguments):
        monkeypatch.chdir(light_book)
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def tiny(tiny_book):
    return find_chapter("tiny", tiny_book)


def result_of(run: Run, **changes):
    result = {"notebook": "{}", "digest": run.version, "claims": [], "device": "none", "seconds": 1.0}
    return {**result, "peak_memory_mib": 100, "versions": {}, **changes}


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_is_kept_with_where_it_came_from_and_not_repeated(call, light_book, monkeypatch):
    done = call("run", "tiny", "-p", "seed", "3", "-f", "gpu", "-p", "keep", "ck/draws")
    assert done.exit_code == 1  # the folder ck is not there: a path is the caller's
    (light_book / "ck").mkdir()
    done = call("run", "tiny", "-p", "seed", "3", "-f", "gpu", "-p", "keep", "ck/draws")
    assert done.exit_code == 0, done.output
    assert (light_book / "ck" / "draws").read_text().count(",") == 999
    parameters = {"n_draws": 1000, "seed": 3, "keep": "ck/draws"}
    run = Run(find_chapter("tiny", light_book), parameters, light_book / "runs")
    assert run.done
    assert files_in(run.folder) == ["claims.json", "provenance.json", "tiny.ipynb"]
    kept = run.read()
    assert kept["claims"][0]["claim"] == "The mean is zero"
    provenance = kept["provenance"]
    assert provenance["parameters"] == parameters
    assert provenance["command"] == "regularity run tiny -p n_draws 1000 -p seed 3 -p keep ck/draws"
    assert provenance["digest"] == run.version
    assert provenance["versions"]["numpy"] == __import__("numpy").__version__
    assert provenance["device"].endswith(f"{len(os.sched_getaffinity(0))} cores")
    assert 20 < provenance["peak_memory_mib"] < 2048
    assert 0 < provenance["seconds"] < 600
    assert re.search(r"✓ reproduced +The draws spread: 1\.0\d m; rule > 0 m\n", done.output)
    assert "– not checked     It holds for all laws: there are too many\n" in done.output

    monkeypatch.setattr(runs, "execute_run", lambda *_: pytest.fail("it was done already"))
    again = call(*shlex.split(provenance["command"])[1:])
    assert again.exit_code == 0, again.output
    assert again.output.startswith("done already: ")


def test_a_notebook_that_raises_is_kept_apart_with_its_traceback(call, light_book):
    done = call("run", "tiny", "-p", "fails", "true")
    assert done.exit_code == 1
    assert "tiny: cell 4 raised RuntimeError: this run was asked to fail (traceback in " in done.output
    assert len(done.output.strip().splitlines()) == 1
    (folder,) = (light_book / "runs" / "tiny" / "failed").iterdir()
    assert files_in(folder) == ["tiny.ipynb", "traceback.txt"]
    assert "RuntimeError" in (folder / "traceback.txt").read_text()
    assert [path.name for path in (light_book / "runs" / "tiny").iterdir()] == ["failed"]


def test_runs_differ_by_parameters_and_by_the_code_that_they_reach(tiny):
    def digest(parameters):
        return Run(tiny.reread(), parameters, Path("runs")).digest

    plain = digest({})
    assert digest({"seed": 1}) != plain
    assert digest({"seed": 1, "scale": 2.0}) == digest({"scale": 2.0, "seed": 1})
    checks = tiny.root / "src/regularity/foundations/checks.py"
    checks.write_text(checks.read_text().replace("must be positive", "must not be zero"))
    assert digest({}) != plain


@pytest.mark.parametrize("file", ["claims.json", "provenance.json", "tiny.ipynb"])
@pytest.mark.parametrize("content", [None, "", '{"claims": ', "null", "[1]"])
def test_a_run_that_cannot_be_read_is_absent_and_done_again(tiny, file, content):
    run = Run(tiny, {}, tiny.root / "runs")
    run.store(result_of(run))
    assert run.done
    if content is None:
        (run.folder / file).unlink()
    else:
        (run.folder / file).write_text(content)
    assert not run.done
    run.store(result_of(run, seconds=2.0))
    assert run.done
    assert run.read()["provenance"]["seconds"] == 2.0
    assert [path.name for path in run.folder.parent.iterdir()] == [run.folder.name]


@pytest.mark.bad_input
def test_outputs_of_other_code_are_not_stored(tiny):
    run = Run(tiny, {}, tiny.root / "runs")
    with pytest.raises(
        BookError, match=r"tiny was executed with other code \(abc\) than is here .* nothing is kept"
    ):
        run.store(result_of(run, digest="abc"))
    assert not run.folder.exists()


@pytest.mark.bad_input
def test_code_that_changes_while_it_runs_fails_the_run(tiny, monkeypatch):
    def execute(notebook, *_arguments, **_options):
        tiny.method.write_text(tiny.method.read_text().replace("standard_normal", "uniform"))
        return notebook

    monkeypatch.setattr(runs, "execute_notebook", execute)
    with pytest.raises(RunFailedError, match="the code was changed while it ran"):
        execute_run(as_text(tiny.cells), {}, tiny.package)


def test_who_comes_second_leaves_the_first_run_alone(tiny):
    run = Run(tiny, {}, tiny.root / "runs")
    run.store(result_of(run))
    run.store(result_of(run, seconds=2.0))
    assert run.read()["provenance"]["seconds"] == 1.0
    assert [path.name for path in run.folder.parent.iterdir()] == [run.folder.name]


def test_what_a_killed_command_left_goes_with_the_next(tiny):
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = Run(tiny, {}, tiny.root / "runs")
    for owner in (gone.pid, os.getpid()):
        name = f".{run.digest}-{os.uname().nodename}-{owner}-abcd1234.unfinished"
        (run.folder.parent / name).mkdir(parents=True)
    run.prepare()
    (left,) = run.folder.parent.iterdir()
    assert f"-{os.getpid()}-" in left.name


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    call = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_told_of_the_books_own_repository(tmp_path):
    outer, inner = tmp_path, tmp_path / "unpacked"
    inner.mkdir()
    assert current_commit(inner) is None
    for folder in (outer, inner):
        if folder == inner:
            assert current_commit(inner) is None  # the repository around it is of something else
        git(folder, "init", "-q")
        (folder / "file").write_text("a")
        git(folder, "add", "file")
        git(folder, "commit", "-qm", "a")
        head = git(folder, "rev-parse", "HEAD")
        assert head.startswith(current_commit(folder))
        assert len(current_commit(folder)) >= 7
    (inner / "file").write_text("b")
    assert current_commit(inner).endswith("+")


@pytest.mark.bad_input
def test_a_folder_that_cannot_be_written_is_found_before_the_run(call, light_book, monkeypatch):
    monkeypatch.setattr(runs, "execute_run", lambda *_: pytest.fail("it was executed for nothing"))
    (light_book / "runs").write_text("a file is in the way")
    for command in ("run", "sweep", "record"):
        done = call(command, "tiny")
        assert done.exit_code == 2, command
        assert re.fullmatch(
            r"Error: cannot write .*runs(/tiny)?: (Not a directory|File exists)\n", done.output
        )
        if command == "record":
            (light_book / "other").mkdir()
            assert call(command, "tiny", "--runs", "other").exit_code == 2
            assert not list((light_book / "other").iterdir())
            (light_book / "runs").unlink()  # the lock of the records is in the book, wherever the runs are
        elsewhere = call(command, "tiny", "--runs", "/proc/none")
        assert elsewhere.exit_code == 2
        assert re.fullmatch(r"Error: cannot write /proc/none/tiny: .*\n", elsewhere.output)


@pytest.mark.bad_input
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fills_up_meanwhile_is_an_error_by_name(call, light_book, monkeypatch, reason):
    def execute(self, *_):
        def refuse(*_arguments, **_options):
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr("regularity.press.files.tempfile.mkdtemp", refuse)
        return result_of(self)

    monkeypatch.setattr(Run, "execute", execute)
    done = call("run", "tiny")
    assert done.exit_code == 2
    assert re.fullmatch(rf"Error: cannot write .*runs/tiny/\w+: {os.strerror(reason)}\n", done.output)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tinny"], "Error: no chapter 'tinny'; did you mean 'tiny'?"),
        (["run", "tiny", "-p", "sed", "1"], "Error: tiny has no parameter 'sed'; did you mean 'seed'?"),
        (["run", "tiny", "-p", "seed", "x"], "Error: seed of tiny must be int; got 'x'"),
        (["run", "tiny", "-p", "seed", "-1"], "Error: seed of tiny must not be negative; got -1"),
        (
            ["run", "tiny", "-p", "law", "cauchy"],
            "Error: law of tiny must be one of 'normal', 'constant'; got",
        ),
        (
            ["run", "tiny", "-f", "none.yaml"],
            "Error: cannot read parameters from none.yaml: No such file or directory",
        ),
        (["run", "tiny", "-p", "device", "tpu"], "Error: device must be one of auto, cpu"),
        (["sweep", "tiny", "--over", "seed"], "Error: --over must be NAME=V1,V2,...; got 'seed'"),
        (["sweep", "tiny", "--over", "scale=1,x"], "Error: scale of tiny must be float; got 'x'"),
        (
            ["sweep", "tiny", "--over", "sclae=1"],
            "Error: tiny has no parameter 'sclae'; did you mean 'scale'?",
        ),
        (
            ["sweep", "tiny", "--over", "seed=1,2", "--seeds", "2"],
            "Error: --over seed and --seeds exclude each other",
        ),
        (["sweep", "tiny", "--over", "scale=1", "--over", "scale=2"], "Error: --over scale is given twice"),
        (
            ["sweep", "tiny", "--workers", "1", "--scheduler", "tcp://127.0.0.1:1"],
            "Error: --workers and --scheduler",
        ),
        (
            ["record", "tiny", "-f", "huge"],
            "Error: cannot read parameters from huge: No such file or directory",
        ),
        (["record"], "Error: name one chapter to record, or ask for what is --stale"),
        (["record", "tiny", "tiny"], "Error: name one chapter to record, or ask for what is --stale"),
        (["record", "--stale", "--first-seed", "5"], "Error: --stale takes sizes and seeds from the records"),
        (["record", "tiny", "-p", "seed", "5"], "Error: -p seed and --seeds and --first-seed exclude"),
        (
            ["sweep", "tiny", "--seeds", "2", "-p", "seed", "5"],
            "Error: -p seed and --seeds exclude each other",
        ),
        (["sweep", "tiny", "--over", "scale=1,2", "-p", "scale", "5"], "Error: -p scale and --over exclude"),
        (["record", "--stale", "-f", "gpu"], "Error: --stale takes sizes and seeds from the records"),
        (["run", "tiny", "--runs", "_toc.yml"], "Error: Invalid value for '--runs'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_runs(call, light_book, arguments, message):
    done = call(*arguments)
    assert done.exit_code == 2
    *usage, line = done.output.strip().splitlines()
    assert line.startswith(message)
    assert not usage or usage[0].startswith("Usage: ")  # click's own words on its own options
    assert not (light_book / "runs").exists()


def test_a_kernel_that_dies_is_told_in_a_line(call, light_book):
    source = light_book / "notebooks/stein/tiny.py"
    source.write_text(
        source.read_text().replace(
            'raise RuntimeError("this run was asked to fail")',
            "__import__('os').kill(__import__('os').getpid(), 9)",
        )
    )
    done = call("run", "tiny", "-p", "fails", "true")
    assert done.exit_code == 1
    assert re.fullmatch(
        r"Error: tiny: its kernel died, as one does that runs out of memory \(traceback in .*\)\n",
        done.output,
    )


def test_a_gpu_is_called_by_its_name_and_each_cpu_a_cpu(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: asked.append(device) or "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(os.path, "exists", lambda _: True)  # the driver's files
    assert [device_name(name) for name in ("auto", "cuda", "cuda:1")] == ["NVIDIA H200"] * 3
    assert asked == [torch.device("cuda"), torch.device("cuda"), torch.device("cuda:1")]
    assert device_name("cpu") == device_name("cpu:0")
    assert device_name("cpu:0").startswith("CPU, ")


def test_the_recorded_device_is_the_chapters_own_default(light_book):
    source = light_book / "notebooks/stein/tiny.py"
    source.write_text(source.read_text().replace('device: str = "auto"', 'device: str = "cpu"'))
    chapter = find_chapter("tiny", light_book)
    assert Run(chapter, {}, light_book / "runs").task[3] == "cpu"
    assert Run(chapter, {"device": "cuda:1"}, light_book / "runs").task[3] == "cuda:1"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (
            RuntimeError("Kernel died before replying"),
            1,
            "its kernel did not start: Kernel died before replying",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "cannot execute in .*No space left on device"),
    ],
)
def test_a_kernel_that_cannot_be_started_is_told_in_a_line(
    call, light_book, monkeypatch, raised, code, message
):
    def refuse(*_arguments, **_options):
        raise raised

    monkeypatch.setattr("papermill.execute_notebook", refuse)
    done = call("run", "tiny")
    assert done.exit_code == code
    assert re.fullmatch(rf"Error: .*{message}.*\n", done.output)


@pytest.mark.bad_input
def test_a_full_disk_below_the_temporary_folder_is_told_in_a_line(call, light_book, monkeypatch):
    def refuse(*_arguments, **_options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("regularity.press.files.tempfile.gettempdir", refuse)
    done = call("run", "tiny")
    assert done.exit_code == 2
    assert re.fullmatch(r"Error: no temporary folder can be made: .*No usable temporary .*\n", done.output)

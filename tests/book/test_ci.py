"""`.ci/run` on machines that are made up of a few stand-in programs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "cksum", "dirname", "git", "id", "printf", "touch")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout with one commit, and a folder of programs with no browser and no apt-get."""
    programs, checkout = tmp_path / "bin", tmp_path / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    programs.mkdir()
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool))
    add_program(tmp_path, "make", 'echo "made $*"')
    add_program(tmp_path, "sudo", 'exec "$@"')
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(checkout)]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Start"]):
        subprocess.run([*git, *arguments], check=True)
    return tmp_path


def add_program(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def run(machine: Path) -> subprocess.CompletedProcess[str]:
    script = machine / "checkout" / ".ci" / "run"
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine)}
    bash = str(machine / "bin" / "bash")
    return subprocess.run(
        [bash, str(script)], env=environment, cwd="/", capture_output=True, text=True, timeout=60
    )


def test_a_browser_that_is_there_is_used(machine: Path) -> None:
    add_program(machine, "google-chrome", "true")
    add_program(machine, "apt-get", 'echo "apt-get $*"')
    done = run(machine)
    assert done.returncode == 0, done.stderr
    assert "google-chrome" in done.stdout
    assert "apt-get" not in done.stdout
    assert "made test" in done.stdout


def test_chromium_is_installed_where_there_is_none(machine: Path) -> None:
    add_program(machine, "apt-get", 'echo "apt-get $*"')
    done = run(machine)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.index("apt-get update")
        < done.stdout.index("apt-get install")
        < done.stdout.index("made test")
    )
    assert "chromium" in done.stdout


def test_without_apt_get_it_goes_on(machine: Path) -> None:
    done = run(machine)
    assert done.returncode == 0, done.stderr
    assert "made test" in done.stdout


def test_failing_tests_fail_it(machine: Path) -> None:
    add_program(machine, "make", "exit 3")
    assert run(machine).returncode == 3


@pytest.mark.parametrize("change", ["touch left-behind", "printf more >> .ci/run"])
def test_a_build_that_changes_the_tree_fails_it(machine: Path, change: str) -> None:
    add_program(machine, "make", change)
    done = run(machine)
    assert done.returncode == 1
    assert "changed the work tree" in done.stdout


def test_changes_that_were_there_before_are_no_fault_of_the_build(machine: Path) -> None:
    (machine / "checkout" / "edited").touch()
    done = run(machine)
    assert done.returncode == 0, done.stderr
    assert "left the work tree as it was" in done.stdout


def test_the_site_test_is_told_that_a_browser_is_needed(machine: Path) -> None:
    add_program(machine, "make", 'echo "CI is $CI"')
    assert "CI is true" in run(machine).stdout

"""Parameters from outside are checked by name and type before anything runs."""

import pytest

from regularity.lab.chapters import BookError, find_chapter
from regularity.lab.parameters import check_device, default_values, read_parameters


@pytest.fixture
def tiny(tiny_book):
    return find_chapter("tiny", tiny_book)


def test_values_get_the_types_of_the_chapter(tiny):
    pairs = [("n_draws", "7"), ("scale", "2"), ("fails", "true"), ("names", "[x, 'y']"), ("device", "cpu")]
    read = read_parameters(tiny, pairs)
    assert read == {"n_draws": 7, "scale": 2.0, "fails": True, "names": ["x", "y"], "device": "cpu"}
    assert [type(value) for value in read.values()] == [int, float, bool, list, str]


def test_the_command_line_wins_over_the_file_and_defaults_are_left_out(tiny):
    assert read_parameters(tiny, [], "paper") == {"n_draws": 2000, "scale": 2.0}
    assert read_parameters(tiny, [("n_draws", "5"), ("scale", "1.0")], "paper") == {"n_draws": 5}
    assert read_parameters(tiny, [("seed", "0"), ("scale", "1")]) == {}
    assert default_values(tiny)["names"] == ["a", "b"]


def test_any_yaml_file_will_do(tiny, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("scale: 3\n")
    assert read_parameters(tiny, [], str(path)) == {"scale": 3.0}
    path.write_text("")
    assert read_parameters(tiny, [], str(path)) == {}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_drows", "1", "tiny has no parameter 'n_drows'; did you mean 'n_draws'?"),
        ("n_draws", "1.5", "n_draws of tiny must be int; got 1.5"),
        ("n_draws", "true", "n_draws of tiny must be int; got True"),
        ("scale", "wide", "scale of tiny must be float; got 'wide'"),
        ("fails", "1", "fails of tiny must be bool; got 1"),
        ("names", "[a, 1]", r"names of tiny must be list[str]; got ['a', 1]"),
        ("names", "a", r"names of tiny must be list[str]; got 'a'"),
        ("seed", "[", "seed of tiny must be int; got '['"),
    ],
)
def test_wrong_names_and_types_are_refused(tiny, name, value, message):
    with pytest.raises(BookError) as caught:
        read_parameters(tiny, [(name, value)])
    assert caught.value.message == message
    assert caught.value.exit_code == 2


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read parameters from .*: No such file"),
        ("- 1\n", "must hold lines `name: value`; got a list"),
        ("a: [\n", "is not YAML"),
        ("n_draws: many\n", "n_draws of tiny must be int; got 'many'"),
        ("draws: 1\n", "tiny has no parameter 'draws'; did you mean 'n_draws'"),
    ],
)
def test_wrong_files_are_refused(tiny, tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BookError, match=message):
        read_parameters(tiny, [], str(path))


@pytest.mark.bad_input
def test_a_device_that_is_not_there_is_refused():
    check_device({})
    check_device({"device": "cpu"})
    with pytest.raises(BookError, match=r"device must be one of auto, cpu.*; got 'cuda:97'"):
        check_device({"device": "cuda:97"})

"""Parameters from outside are checked by name, type and choice before anything runs."""

import math
import re
import shlex

import pytest

from regularity.press.chapters import BookError, find_chapter
from regularity.press.parameters import (
    Parameter,
    check_device,
    parameters_in,
    parse_value,
    parse_values,
    read_parameters,
)
from regularity.press.runs import Run


@pytest.fixture
def tiny(tiny_book):
    return find_chapter("tiny", tiny_book)


def test_a_cell_tells_types_defaults_comments_and_choices():
    cell = """\
import math  # no parameter

n: int = 3  # how many
rate = 1e-3  # a = b # c
names: list = [
    "a",  # the first
    "b",
]  # some names
note: str | None = None  # "x" alone is no choice
mode: "Literal['fast', 'slow']" = "fast"
law: str = "normal"  # "normal", "constant" or "none", of the draws
shape: str = "a=b"  # "a=b", or "c", for the "other"
folder: str = ""  # where it is kept; "" or "none" for nowhere
device: str = "auto"  # "auto", "cpu", "cuda:1"
size: str = "#"
"""
    found = parameters_in(cell)
    assert list(found.values()) == [
        Parameter("n", "int", 3, "how many"),
        Parameter("rate", "float", 0.001, "a = b # c"),
        Parameter("names", "list", ["a", "b"], "some names"),
        Parameter("note", "str | None", None, '"x" alone is no choice'),
        Parameter("mode", 'Literal["fast", "slow"]', "fast", ""),
        Parameter("law", "str", "normal", '"normal", "constant" or "none", of the draws'),
        Parameter("shape", "str", "a=b", '"a=b", or "c", for the "other"'),
        Parameter("folder", "str", "", 'where it is kept; "" or "none" for nowhere'),
        Parameter("device", "str", "auto", '"auto", "cpu", "cuda:1"'),
        Parameter("size", "str", "#", ""),
    ]
    assert {name: parameter.choices for name, parameter in found.items() if parameter.choices} == {
        "mode": ("fast", "slow"),
        "law": ("normal", "constant", "none"),
        "shape": ("a=b", "c"),
    }


INT, FLOAT, BOOL = (Parameter("p", name, None, "") for name in ("int", "float", "bool"))
WORD, OPTIONAL = Parameter("p", "str", "", ""), Parameter("p", "str | None", None, "")
INTS, FLOATS = Parameter("p", "list[int]", [1], ""), Parameter("p", "list[float]", [1.0], "")
BARE_INTS, BARE_MIXED = Parameter("p", "list", [1, 2], ""), Parameter("p", "list", [1, 2.5], "")
NESTED, ANY = Parameter("p", "list[list[int]]", [[1]], ""), Parameter("p", "list", [], "")
LAW = Parameter("p", "str", "a", '"a" or "b", of the draws')
MODE = Parameter("p", 'Literal["fast", "slow"]', "fast", "")
SEED = Parameter("seed", "int", 0, "")


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (INT, "7", 7),
        (INT, "010", 10),
        (INT, "-3", -3),
        (INT, "+3", 3),
        (FLOAT, "2", 2.0),
        (FLOAT, "1e-3", 0.001),
        (FLOAT, "1E5", 1e5),
        (FLOAT, "-.5", -0.5),
        (BOOL, "true", True),
        (BOOL, "False", False),
        (WORD, "010", "010"),
        (WORD, "null", "null"),
        (WORD, ' "a" ', ' "a" '),
        (OPTIONAL, "null", None),
        (OPTIONAL, "a=b # c", "a=b # c"),
        (OPTIONAL, '"null"', "null"),
        (OPTIONAL, '"\\"a\\""', '"a"'),
        (INTS, "[1, 010]", [1, 10]),
        (INTS, "[]", []),
        (FLOATS, "[1, 1e-3, 2e5]", [1.0, 0.001, 2e5]),
        (BARE_INTS, "[3]", [3]),
        (BARE_MIXED, "[3, 1e-3]", [3.0, 0.001]),
        (NESTED, "[[1, 2], []]", [[1, 2], []]),
        (ANY, "[a, 1]", ["a", 1]),
        (LAW, "b", "b"),
        (MODE, "slow", "slow"),
    ],
)
def test_values_are_read_by_type_and_written_so_that_they_are_read_again(parameter, text, value):
    read = parameter.parse(text)
    assert read == value
    assert type(read) is type(value)
    assert [type(entry) for entry in read] == [type(e) for e in value] if isinstance(value, list) else True
    assert parameter.parse(parameter.write(value)) == value


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("parameter", "text", "demand"),
    [
        (INT, "1.5", "must be int; got 1.5"),
        (INT, "true", "must be int; got True"),
        (INT, "1:30", "must be int; got '1:30'"),
        (INT, "1_000", "must be int; got '1_000'"),
        (INT, "0x10", "must be int; got '0x10'"),
        (INT, "2020-01-01", "must be int; got '2020-01-01'"),
        (INT, "[", "must be int; got '['"),
        (INT, "9" * 5000, "must be int; got "),
        (FLOAT, "wide", "must be float; got 'wide'"),
        (FLOAT, "nan", "must be float; got 'nan'"),
        (FLOAT, "1e999", "must be float; got inf"),
        (BOOL, "1", "must be bool; got 1"),
        (BOOL, "yes", "must be bool; got 'yes'"),
        (INTS, "[1, 1.5]", "must be list[int], written [1, 2, ...] as YAML does; got [1, 1.5]"),
        (INTS, "100,200", "must be list[int], written [1, 2, ...] as YAML does; got '100,200'"),
        (INTS, "[true]", "must be list[int], written"),
        (INTS, "[1:30]", "must be list[int], written"),
        (BARE_INTS, "[a]", "must be list[int], written"),
        (BARE_INTS, "[1.5]", "must be list[int], written"),
        (NESTED, "[1]", "must be list[list[int]], written"),
        (ANY, "[" * 3000, "must be list, written"),
        (LAW, "c", "must be one of 'a', 'b'; got 'c'"),
        (MODE, "quick", "must be one of 'fast', 'slow'; got 'quick'"),
        (SEED, "-1", "must not be negative; got -1"),
    ],
)
def test_wrong_values_are_refused(parameter, text, demand):
    with pytest.raises(ValueError, match=f"^{re.escape(demand)}"):
        parameter.parse(text)


def test_values_get_the_types_of_the_chapter(tiny):
    pairs = [("n_draws", "7"), ("scale", "2"), ("fails", "true"), ("names", "[x, 'y']"), ("device", "cpu")]
    read = read_parameters(tiny, pairs)
    assert read == {"n_draws": 7, "scale": 2.0, "fails": True, "names": ["x", "y"], "device": "cpu"}
    assert [type(value) for value in read.values()] == [int, float, bool, list, str]


def test_the_command_line_wins_over_the_file_and_defaults_are_left_out(tiny):
    assert read_parameters(tiny, [], "paper") == {"n_draws": 2000, "scale": 2.0}
    assert read_parameters(tiny, [("n_draws", "5"), ("scale", "1.0")], "paper") == {"n_draws": 5}
    assert read_parameters(tiny, [("seed", "0"), ("scale", "1")]) == {}


def test_any_yaml_file_will_do(tiny, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("scale: 1e-3\nn_draws: 010\n")
    assert read_parameters(tiny, [], str(path)) == {"scale": 0.001, "n_draws": 10}
    path.write_text("")
    assert read_parameters(tiny, [], str(path)) == {}


def test_values_between_commas_may_be_lists(tiny):
    assert parse_values(tiny, "scale", "1, 1e-3") == [1.0, 0.001]
    assert parse_values(tiny, "names", "[a, b],[]") == [["a", "b"], []]
    with pytest.raises(BookError, match=r"names of tiny must be list\[str\], written"):
        parse_values(tiny, "names", "a,b")


VALUES = {
    "n_draws": 7,
    "scale": 1e-05,
    "fails": True,
    "names": ["a b", "'", "[", "1"],
    "law": "constant",
    "note": "null",
    "keep": "-p x # $HOME 'y'",
}


def test_the_command_of_a_run_gives_its_parameters_again(tiny, tmp_path):
    words = shlex.split(Run(tiny, VALUES, tmp_path).command)
    assert words[:3] == ["regularity", "run", "tiny"]
    pairs = [(words[at + 1], words[at + 2]) for at in range(3, len(words), 3)]
    assert set(words[3::3]) == {"-p"}
    assert read_parameters(tiny, pairs) == VALUES


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_drows", "1", "tiny has no parameter 'n_drows'; did you mean 'n_draws'?"),
        ("n_draws", "1.5", "n_draws of tiny must be int; got 1.5"),
        ("law", "Normal", "law of tiny must be one of 'normal', 'constant'; got 'Normal'"),
        (
            "names",
            "[a, 1]",
            "names of tiny must be list[str], written [1, 2, ...] as YAML does; got ['a', 1]",
        ),
    ],
)
def test_wrong_names_and_values_are_refused(tiny, name, value, message):
    with pytest.raises(BookError) as caught:
        read_parameters(tiny, [(name, value)])
    assert caught.value.message == message
    assert caught.value.exit_code == 2


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read parameters from .*mine.yaml: No such file"),
        ("- 1\n", "mine.yaml must hold lines `name: value`; got a list"),
        ("a: [\n", "mine.yaml is not YAML: "),
        ("n_draws: many\n", "n_draws of tiny must be int; got 'many' in .*mine.yaml"),
        ("n_draws: 1:30\n", "n_draws of tiny must be int; got '1:30' in"),
        ("fails: yes\n", "fails of tiny must be bool; got 'yes' in"),
        ("draws: 1\n", "tiny has no parameter 'draws' in .*mine.yaml; did you mean 'n_draws'"),
        ("1: 2\n", "tiny has no parameter 1 in .*mine.yaml; there are: seed"),
        ("[1, 2]: 3\n", "mine.yaml is not YAML: "),
        ("scale: 1\nscale: 2\n", "mine.yaml is not YAML: scale is given twice"),
        (BOMB, "mine.yaml is not YAML: an alias is no value"),
        ("scale: !!python/object/apply:os.getcwd []\n", "mine.yaml is not YAML: "),
        ("\udcff", "mine.yaml is not YAML: 'utf-8' codec"),
    ],
)
def test_wrong_files_are_refused(tiny, tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BookError, match=message) as caught:
        read_parameters(tiny, [], str(path))
    assert "\n" not in caught.value.message


@pytest.mark.bad_input
def test_a_device_that_is_not_there_is_refused():
    check_device({})
    check_device({"device": "cpu"})
    with pytest.raises(BookError, match=r"device must be one of auto, cpu.*; got 'cuda:97'"):
        check_device({"device": "cuda:97"})


def test_numbers_that_are_not_finite_are_no_parameters():
    with pytest.raises(ValueError, match="must be float; got nan"):
        FLOAT.check(math.nan)


STRANGE = ["!!bool x", "!!timestamp x", "!!set [1]", "!!int x", "1" * 400]


@pytest.mark.bad_input
@pytest.mark.parametrize("value", STRANGE)
def test_tags_that_do_not_fit_and_numbers_too_large_are_refused_by_name(tiny_book, tmp_path, value):
    chapter = find_chapter("tiny", tiny_book)
    with pytest.raises(BookError, match="scale of tiny must be float; got"):
        parse_value(chapter, "scale", value)
    (tmp_path / "x.yaml").write_text(f"scale: {value}")
    with pytest.raises(BookError, match=r"x\.yaml"):
        read_parameters(chapter, file=str(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").write_text(f"names: [a, {value}]")
    with pytest.raises(BookError, match=r"x\.yaml"):
        read_parameters(chapter, file=str(tmp_path / "x.yaml"))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("line", "good", "bad"),
    [
        ('a: Literal["x", "y"] | None = None', ["x", "null"], "z"),
        ('a: list[Literal["x", "y"]] = ["x"]', ["[y, x]"], "[x, z]"),
        ("a: Literal[1, 2] = 1", ["2"], "true"),
        ("a: Literal[1, 2] = 1", ["1"], "1.0"),
        ("a: Optional[int] = 3", ["4", "null"], "x"),
    ],
)
def test_choices_are_checked_wherever_they_stand_in_a_type(line, good, bad):
    parameter = parameters_in(line)["a"]
    for text in good:
        value = parameter.parse(text)
        assert parameter.parse(parameter.write(value)) == value
    with pytest.raises(ValueError, match="must be"):
        parameter.parse(bad)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "line",
    ["a, b = 1, 2", "a = b = 1", "a: int", "a += 1", "for a in [1]: pass", "def a(): pass", "n_d", "x.a = 1"],
)
def test_a_cell_of_parameters_holds_nothing_else(line):
    with pytest.raises(ValueError, match="its parameters must be lines `name: type = literal`; got"):
        parameters_in(f"seed: int = 0\n{line}")
    assert list(parameters_in('"""Words."""\nfrom typing import Literal\nseed: int = 0')) == ["seed"]


@pytest.mark.bad_input
def test_a_device_without_numbers_is_refused():
    with pytest.raises(BookError, match="device must be one that computes; got 'meta'"):
        check_device({"device": "meta"})

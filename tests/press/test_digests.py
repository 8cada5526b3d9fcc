"""Digests: what makes a chapter stale and what does not, the same on every version of Python."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from regularity.press.chapters import all_pairs
from regularity.press.digests import digest
from tests.conftest import write

ROOT = Path(__file__).resolve().parents[2]

# A small package with one way of each kind from a notebook to a definition.
FILES = {
    "__init__": '"""Top."""\n',
    "lab/__init__": """\
        import lazy_loader

        __getattr__, __dir__, __all__ = lazy_loader.attach(
            __name__, submod_attrs={"claims": ["Claim", "judge"], "figures": ["figure"]}
        )
        """,
    "lab/claims": '''\
        """Claims."""

        BOUND = 3


        class Claim:
            """A claim."""

            def verdict(self, measured):
                # The rule.
                return judge(measured)

            def unused(self):
                return 1


        def judge(measured):
            return measured > BOUND
        ''',
    "lab/figures": "def figure():\n    return 7\n",
    "foundations/__init__": "",
    "foundations/checks": '''\
        """Checks."""

        import math

        LEVEL = 1
        OTHER: float = 2.0
        TABLE = {"a": 1}


        def check(x):
            """Check.

            It says:

            - more
            """

            if x < LEVEL:  # too low
                raise ValueError(f"""x must not be below {LEVEL}

        # this is text: it counts
        """)
            return helper(x)


        def helper(x):
            return math.sqrt(x)


        def level(LEVEL, helper):
            OTHER = LEVEL
            return [helper for helper in OTHER]


        def unused(x):
            return x
        ''',
    "foundations/runs_at_import": "import math\n\nTABLE = {}\nTABLE['a'] = 1\n\n\ndef use():\n    return TABLE\n",
    "foundations/decorators": """\
        def traced(function):
            return function


        def other(function):
            return function
        """,
    "data/__init__": "from regularity.data.counts import load\n",
    "data/counts": "def load():\n    return SIZE\n\n\nSIZE = 3\n",
    "stein/__init__": "",
    "stein/method/__init__": "from .algorithm import fit\nfrom .rivals import rival\n",
    "stein/method/algorithm": """\
        from regularity.foundations import checks
        from regularity.foundations.decorators import other, traced


        @traced
        def fit(x):
            return checks.check(x)
        """,
    "stein/method/rivals": "import numpy as np\n\n\ndef rival(x):\n    return np.abs(x)\n",
    "stein/local": """\
        def late():
            from regularity.foundations.checks import unused as soon

            return soon(1)


        class Holder:
            unused = 3

            def method(self):
                return unused


        def unused():
            return 2
        """,
}
CELLS = {
    "method": "from regularity.stein import method\n\n# Fit.\nmethod.fit(3)",
    "rival": "from regularity.stein.method import rival\nrival(3)",
    "lab": "from regularity import lab\nlab.Claim().verdict(3)\nlab.figure()",
    "data": "from regularity.data import load\nload()",
    "bare": "import regularity.foundations.checks as checks\nprint(checks)",
    "level": "from regularity.foundations.checks import level\nlevel([1], 2)",
    "runs_at_import": "from regularity.foundations import runs_at_import\nruns_at_import.use()",
    "late": "from regularity.stein.local import late\nlate()",
    "holder": "from regularity.stein.local import Holder\nHolder()",
    "chain": "import regularity.foundations.checks\nregularity.foundations.checks.helper(3)",
    "shadowed": "from regularity.foundations.checks import helper\n\ndef f(helper):\n    return helper.x\n\nf(3)",
    "none": "import numpy as np\nunused = 3\nunused",
}


@pytest.fixture
def sources(tmp_path):
    for name, text in FILES.items():
        write(tmp_path / "src" / "regularity" / f"{name}.py", text)
    return tmp_path / "src"


def change(sources: Path, module: str, old: str, new: str) -> None:
    path = sources / "regularity" / f"{module}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


CHECKS, CLAIMS, LOCAL = "foundations/checks", "lab/claims", "stein/local"


@pytest.mark.parametrize(
    ("cells", "module", "old", "new"),
    [
        # A function of a foundation, through a package's re-export, a module's attribute and another function.
        ("method", CHECKS, "return helper(x)", "return helper(-x)"),
        ("method", CHECKS, "math.sqrt(x)", "math.cbrt(x)"),
        ("method", CHECKS, "LEVEL = 1", "LEVEL = 0"),
        ("method", CHECKS, "# this is text", "# this is a text"),  # a comment's sign inside of a string
        ("method", CHECKS, "{LEVEL}\n\n#", "{LEVEL}\n#"),  # a blank line inside of a string
        (
            "method",
            "foundations/decorators",
            "def traced(function):\n    return",
            "def traced(function):\n    yield",
        ),
        ("method", "stein/method/algorithm", "@traced\ndef", "def"),
        ("rival", "stein/method/rivals", "np.abs(x)", "-np.abs(x)"),
        ("chain", CHECKS, "math.sqrt(x)", "math.cbrt(x)"),
        # A class reaches what its methods name, and a lazy package what its literal says.
        ("lab", CLAIMS, "measured > BOUND", "measured >= BOUND"),
        ("lab", CLAIMS, "BOUND = 3", "BOUND = 4"),
        ("lab", CLAIMS, "return 1", "return 2"),
        ("data", "data/counts", "SIZE = 3", "SIZE = 4"),
        # A module that is handed on as a value may be asked for anything.
        ("bare", CHECKS, "return x\n", "return -x\n"),
        ("bare", CHECKS, "OTHER: float = 2.0", "OTHER: float = 3.0"),
        ("runs_at_import", "foundations/runs_at_import", "TABLE['a'] = 1", "TABLE['a'] = 2"),
        # An import inside a function; a class's own names, which its methods do not see.
        ("late", CHECKS, "def unused(x):\n    return x", "def unused(x):\n    return 2"),
        ("holder", LOCAL, "return 2", "return 3"),
    ],
)
def test_what_is_reached_makes_a_new_version(sources, cells, module, old, new):
    before = digest([CELLS[cells]], sources)
    change(sources, module, old, new)
    assert digest([CELLS[cells]], sources) != before


@pytest.mark.parametrize(
    ("cells", "module", "old", "new"),
    [
        ("method", CHECKS, "return x\n", "return -x\n"),  # a function that is not used
        ("method", CHECKS, "OTHER: float = 2.0", "OTHER: float = 3.0"),
        ("method", CHECKS, '"a": 1', '"a": 2'),
        ("method", CHECKS, "It says:", "It said:"),
        ("method", CHECKS, "    - more\n", "    - more\n\n    - and more\n"),
        ("method", CHECKS, '"""Checks."""', '"""All checks."""'),
        ("method", CHECKS, "  # too low", ""),
        ("method", CHECKS, "LEVEL:  # too", "LEVEL:   # far too"),
        ("method", CHECKS, "\n\ndef helper", "\n# A helper.\n\n\n\ndef helper"),
        (
            "method",
            "foundations/decorators",
            "def other(function):\n    return",
            "def other(function):\n    yield",
        ),
        ("method", "stein/method/rivals", "np.abs(x)", "-np.abs(x)"),
        ("method", "stein/method/__init__", "from .rivals import rival\n", ""),
        # Parameters, local names and a comprehension's names are not the module's.
        ("level", CHECKS, "LEVEL = 1", "LEVEL = 0"),
        ("level", CHECKS, "OTHER: float = 2.0", "OTHER: float = 3.0"),
        ("level", CHECKS, "math.sqrt(x)", "math.cbrt(x)"),
        ("shadowed", CHECKS, "math.sqrt(x)", "math.cbrt(x)"),
        ("none", LOCAL, "return 2", "return 3"),
        ("late", LOCAL, "return 2", "return 3"),  # the local import is not the module's function of that name
        ("lab", "lab/figures", "return 7", "return 8"),  # presentation
        ("lab", "lab/__init__", '"figures": ["figure"]', '"figures": ["figure", "more"]'),
        ("runs_at_import", "foundations/runs_at_import", "import math", "import cmath"),
    ],
)
def test_what_is_not_reached_or_says_nothing_does_not(sources, cells, module, old, new):
    before = digest([CELLS[cells]], sources)
    change(sources, module, old, new)
    assert digest([CELLS[cells]], sources) == before


def test_a_notebooks_own_code_counts_without_its_comments(sources):
    def of(*cells):
        return digest(cells, sources)

    assert of("x = 1  # one", "y = '#'") == of("# One.\n\nx = 1\n", "y = '#'")
    assert of("x = 1", "y = '#'") != of("x = 1", "y = '# '")
    assert of("x = 1\ny = 2") != of("x = 1", "y = 2")  # outputs belong to cells
    assert of('def f():\n    """Say."""\n    return 1') == of("def f():\n    return 1")
    assert of('"shown"') != of('"other"')  # what a cell shows is no docstring


@pytest.mark.bad_input
def test_what_is_not_python_is_named(sources):
    with pytest.raises(SyntaxError) as caught:
        digest(["x = 1", "x ="], sources)
    assert caught.value.filename == "code cell 2"
    change(sources, CHECKS, "LEVEL = 1", "LEVEL = ")
    with pytest.raises(SyntaxError) as caught:
        digest([CELLS["method"]], sources)
    assert caught.value.filename == "regularity.foundations.checks"


@cache
def interpreters() -> list[str]:
    """This Python, and all others from 3.11 on that the machine has."""
    found = {sys.version_info[:2]: sys.executable}
    for minor in (11, 12, 13):
        name = f"python3.{minor}"
        homes = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))
        for candidate in [*map(str, homes), shutil.which(name)]:
            if (
                candidate
                and (3, minor) not in found
                and subprocess.run([candidate, "-c", ""]).returncode == 0
            ):
                found[3, minor] = candidate
    return list(found.values())


PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from regularity.press.digests import digest
print(json.dumps([digest(cells, Path(folder)) for cells, folder in json.load(sys.stdin)]))
"""


def digests_by_version(asked: list[tuple[list[str], str]]) -> list[list[str]]:
    """What each Python makes of some cells and folders, in isolated mode: the standard library is all it has."""
    answers = []
    for python in interpreters():
        call = [python, "-I", "-c", PROGRAM, str(ROOT / "src")]
        done = subprocess.run(call, input=json.dumps(asked), capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
    return answers


def test_the_digests_of_a_fixed_package_are_these_on_every_python(sources):
    expected = {
        "method": "cba651999c78",
        "rival": "be86c830b9f2",
        "lab": "68ac9495e452",
        "data": "da86b2a46d53",
        "bare": "61094b902139",
        "level": "b7110d81f506",
        "runs_at_import": "dbce6e67ca76",
        "late": "5c45e29ff583",
        "holder": "6198a8067ff5",
        "chain": "644564d2b762",
        "shadowed": "5b61ad96be06",
        "none": "e82ea700ae26",
    }
    for found in digests_by_version([([cells], str(sources)) for cells in CELLS.values()]):
        assert dict(zip(CELLS, found, strict=True)) == expected


def test_every_python_gives_the_books_pages_the_same_digests():
    pairs = all_pairs(ROOT)
    asked = [
        ([cell.source for cell in pair.source_cells if cell.kind == "code"], str(pair.package))
        for pair in pairs
    ]
    first, *others = digests_by_version(asked)
    assert len(set(first)) == len(pairs)
    assert others == [first] * len(others)

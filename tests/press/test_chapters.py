"""How chapters are found, what their parameters are, and what makes a new version of one."""

import pytest

from regularity.lab.chapters import BookError, all_chapters, find_chapter, find_root
from tests.conftest import write


def test_the_book_is_found_from_any_folder_in_it(tiny_book):
    assert find_root(tiny_book / "notebooks" / "stein") == tiny_book


def test_outside_a_book_the_installed_one_is_found(tmp_path):
    assert (find_root(tmp_path) / "src" / "regularity").is_dir()


def test_chapters_come_in_the_order_of_the_contents(tiny_book):
    source = tiny_book / "notebooks" / "stein" / "tiny.py"
    for name in ("zebra", "ant"):
        write(source.with_name(f"{name}.py"), source.read_text())
    write(
        tiny_book / "_toc.yml",
        """\
        format: jb-book
        root: index
        parts:
          - caption: Stein
            chapters:
              - file: book/parts/stein
                sections:
                  - file: notebooks/stein/zebra
                  - file: notebooks/stein/tiny
        """,
    )
    assert [chapter.name for chapter in all_chapters(tiny_book)] == ["zebra", "tiny", "ant"]


def test_a_chapter_tells_its_title_files_and_parameters(tiny_book):
    chapter = find_chapter("stein/tiny", tiny_book)
    assert chapter == find_chapter("tiny", tiny_book)
    assert chapter.title == "Tiny: is the mean of normal draws zero?"
    assert chapter.parameter_file("gpu").read_text() == "n_draws: 1000\n"
    assert chapter.parameters["n_draws"] == {
        "name": "n_draws",
        "inferred_type_name": "int",
        "default": "100",
        "help": "how many draws",
    }
    assert chapter.executed() is None


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("notebooks/stein/tiny.py", "is the mean", "is a mean", False),
        ("src/regularity/stein/tiny.py", '"""The method."""', '"""A method."""  # of ours', False),
        ("notebooks/stein/tiny.py", "= 100", "= 101", True),
        ("src/regularity/stein/tiny.py", "value = 1", "value = 2", True),
        ("src/regularity/foundations/checks.py", "level = 1", "level = 2", False),
    ],
)
def test_prose_makes_no_new_version_and_code_does(tiny_book, file, old, new, changes):
    before = find_chapter("tiny", tiny_book).digest()
    path = tiny_book / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (find_chapter("tiny", tiny_book).digest() != before) is changes


def test_runs_differ_by_parameters_and_by_all_they_import(tiny_book):
    def digest(parameters):
        return find_chapter("tiny", tiny_book).run_digest(parameters)

    plain = digest({})
    assert digest({"seed": 1}) != plain
    assert digest({"seed": 1, "scale": 2}) == digest({"scale": 2, "seed": 1})
    foundation = tiny_book / "src/regularity/foundations/checks.py"
    foundation.write_text('"""Checks, told anew."""\n\nlevel = 1\n')
    assert digest({}) == plain
    foundation.write_text('"""Checks."""\n\nlevel = 2\n')
    assert digest({}) != plain


@pytest.mark.bad_input
def test_wrong_names_are_met_with_the_nearest_right_one(tiny_book):
    with pytest.raises(BookError, match=r"no chapter 'tinny'; did you mean 'tiny'\?"):
        find_chapter("tinny", tiny_book)
    with pytest.raises(BookError, match="no chapter 'qqq'; there are: tiny, stein/tiny"):
        find_chapter("qqq", tiny_book)


@pytest.mark.bad_input
def test_a_header_without_a_kernel_is_refused(tiny_book):
    source = tiny_book / "notebooks" / "stein" / "tiny.py"
    source.write_text(source.read_text().replace("#   kernelspec:", "#   colonelspec:"))
    with pytest.raises(BookError, match="must hold a `kernelspec:`"):
        find_chapter("tiny", tiny_book).parameters  # noqa: B018

"""How an error and a time are put into one line."""

import pytest

from supclap.wording import counted, duration, gist, numbers, one_line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (41, "41 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.6, "1 h 00 min"),
        (7260, "2 h 01 min"),
    ],
)
def test_a_time_is_as_exact_as_one_reads_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_error_is_one_printable_line_and_never_an_empty_one() -> None:
    assert gist(ValueError("two\n  lines\x1b[2J\tand more")) == "two lines [2J and more"
    assert gist(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_line_that_is_cut_says_so() -> None:
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcd", 4) == "abcd"
    assert gist(ValueError("x" * 500)) == "x" * 199 + "…"
    assert gist(ValueError("x" * 500), None) == "x" * 500


@pytest.mark.parametrize(
    ("number", "noun", "plural", "shown"),
    [
        (0, "cell", "", "0 cells"),
        (1, "cell", "", "1 cell"),
        (2, "cell", "", "2 cells"),
        (1500, "clip", "", "1,500 clips"),
        (1, "class", "classes", "1 class"),
        (3, "class", "classes", "3 classes"),
    ],
)
def test_a_count_bears_its_noun(number: int, noun: str, plural: str, shown: str) -> None:
    assert counted(number, noun, plural) == shown


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([7], "7"),
        (list(range(12)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"),
        (list(range(500)), "0 to 499"),
        ([*range(10), 12, *range(30, 40)], "0 to 9, 12, 30 to 39"),
        (list(range(0, 30, 2)), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 3 more"),
    ],
)
def test_many_numbers_are_stretches(values: list[int], line: str) -> None:
    assert numbers(values) == line

"""CSV that a spreadsheet shows as text, and a CSV reader reads back."""

import csv
import io

from supclap.csv_text import csv_text


def test_what_a_spreadsheet_would_compute_stands_behind_an_apostrophe() -> None:
    formulas = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1"]
    plain = ["A", "-0.5", "+1e-3", "-inf", "", "a=b", 'say "hi"', "two\nlines", 7, -0.25, None]
    rows = list(csv.reader(io.StringIO(csv_text([formulas, plain]), newline="")))
    assert rows[0] == [f"'{text}" for text in formulas]
    assert rows[1] == ["" if value is None else str(value) for value in plain]


def test_a_line_that_ends_as_on_a_mac_of_old_stays_in_its_cell() -> None:
    text = csv_text([["two\rlines", "\r=1", "x"]])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["two\nlines", "'\n=1", "x"]]

"""`supclap check` passes what is right and names what is wrong, by numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import main

from supclap import registry
from supclap.checking.finding import Finding
from supclap.checking.losses import check_loss, edges, gradient, hidden, order, shares
from supclap.checking.radii import check_radius
from supclap.parts.making import make_part
from supclap.parts.part import Place
from supclap.user_code import load_code

HEAD = """
import time
import numpy, torch
from supclap.parts import AudioEncoder, BatchOrder, LossTerm, Radius, register
"""
TERM = HEAD + '@register("x")\nclass X(LossTerm):\n    def forward(self, pairs):\n        '
ROWS = HEAD + '@register("x")\nclass X(LossTerm):\n    def rows(self, pairs):\n        '
COSINES = "pairs.similarities.diagonal(pairs.offset)"


def maker(folder: Path, source: str) -> Callable[[int], Any]:
    """Makes the one part of a source, for batches of so many pairs."""
    (folder / "idea.py").write_text(source)
    load_code(["idea.py"], folder)
    (part,) = registry.all_parts()
    keys = {name: field.default for name, field in part.keys.model_fields.items()}
    return lambda pairs: make_part(part.kind, part.name, keys, Place(pairs, 8), 0)


@pytest.mark.parametrize(
    ("source", "check", "told"),
    [
        (TERM + "return (pairs.audio.detach() * pairs.text).sum()", gradient, "finite differences"),
        (
            TERM + "return (1 - pairs.similarities.diagonal()).sqrt().mean()",
            edges,
            "equal pairs: t",
        ),
        (TERM + "return pairs.similarities[0, 1]", order, "in another"),
        (TERM + "return pairs.text.sum() + 0 * time.time()", hidden, "time.time in line"),
        (TERM + "return pairs.text.sum() + 0 * torch.rand(())", hidden, "torch's global generator"),
        (TERM + "return pairs.text.sum() * numpy.random.rand()", hidden, "numpy.random is drawn"),
        (
            TERM
            + "self.calls = getattr(self, 'calls', 0) + 1; return pairs.text.sum() / self.calls",
            hidden,
            "the attribute 'calls' is changed",
        ),
        (ROWS + f"return {COSINES}.mean()", shares, "one worker"),
    ],
)
def test_a_planted_fault_is_found(
    tmp_path: Path, source: str, check: Callable[[Any], Finding], told: str
) -> None:
    found = check(maker(tmp_path, source))
    assert found.ok is False
    assert told in found.text


@pytest.mark.heavy
def test_a_term_that_is_right_passes_every_check(tmp_path: Path) -> None:
    found = list(check_loss(maker(tmp_path, ROWS + f"return (1 - {COSINES}).sum() / len(pairs)")))
    assert [str(one) for one in found if one.ok is not True] == []
    assert {one.check for one in found} >= {"gradient", "finite", "order", "repeatable", "rows"}


def test_what_a_term_declares_is_not_held_against_it(tmp_path: Path) -> None:
    declared = "    unordered = False\n    stops_gradient = True\n    def forward"
    source = TERM + "return (pairs.audio.detach() * pairs.text)[0].sum()"
    make = maker(tmp_path, source.replace("    def forward", declared))
    assert [check(make).ok for check in (gradient, order)] == [None, None]


def test_a_radius_that_looks_at_other_rows_is_found(tmp_path: Path) -> None:
    source = '@register("x")\nclass X(Radius):\n    def forward(self, similarities, offset=0):\n'
    good = maker(tmp_path, HEAD + source + "        return similarities.softmax(1).amax(1)")
    assert all(one.ok for one in check_radius(good))
    bad = maker(tmp_path, HEAD + source + "        return similarities.softmax(0).amax(1)")
    assert [one.check for one in check_radius(bad) if not one.ok] == ["rows"]


def checked(folder: Path, source: str, *options: str) -> Result:
    (folder / "idea.py").write_text(source)
    return CliRunner().invoke(main, ["check", str(folder / "idea.py"), *options])


@pytest.mark.heavy
def test_the_command_trains_a_small_run_five_times(tmp_path: Path) -> None:
    done = checked(tmp_path, ROWS + f"return (1 - {COSINES}).sum() / len(pairs)", "--one-process")
    assert done.exit_code == 0, done.output
    for check in ("run", "same again", "resumed", "chunks"):
        assert f"ok      {check}" in done.output
    assert "all checks passed" in done.output


@pytest.mark.heavy
def test_the_command_finds_what_only_a_run_can_show(tmp_path: Path) -> None:
    order = (
        '@register("x")\nclass X(BatchOrder):\n    seen = 0\n'
        "    def order(self, pairs, epoch, generator):\n        self.seen += 1\n"
        "        return numpy.roll(numpy.arange(len(pairs)), self.seen)"
    )
    done = checked(tmp_path, HEAD + order, "--one-process")
    assert done.exit_code == 1
    assert "FAILED  order         the attribute 'seen' is changed" in done.output
    assert "epoch 1 has another order when asked again" in done.output
    assert "FAILED  run" in done.output


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("x = 1", (), "registers no part"),
        (TERM + "return 0", ("--part", "y"), "--part y: no such part (known: x)"),
        ("import nowhere_at_all", (), "idea.py:1: ModuleNotFoundError"),
        (TERM.replace("    def", "    margin: float\n    def") + "0", (), "margin: field required"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    tmp_path: Path, source: str, options: tuple[str, ...], told: str
) -> None:
    done = checked(tmp_path, source, *options)
    assert done.exit_code == 2
    assert told in done.output
    assert "Traceback" not in done.output

"""Every benchmark still runs: it imports, says its settings, and the page names it."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
APART = {
    "__init__",
    "machine",
    "bare_loop",
    "postgres",
    "table14",
}  # no benchmarks: what others use
MODULES = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - APART)
NEEDS = {"input": "webdataset"}


@pytest.mark.parametrize("name", MODULES)
def test_it_says_its_settings_and_starts_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed (pip install '.[benchmark]')")
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{name}", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_the_page_names_each() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"python -m benchmarks\.(\w+)", page))) == MODULES


@pytest.mark.heavy
def test_what_a_card_is_measured_by_runs_in_its_smallest_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks import gpu

    assert gpu.main(["--small"]) == 0
    said = capsys.readouterr().out
    assert "figures of the CPU, which are none of a card's" in said or torch.cuda.is_available()
    forms = [name for tile in (None, 16) for name in gpu.forms(30, tile)]
    theirs = "ClipLoss, written out (no open_clip)"
    theirs = "open_clip ClipLoss" if importlib.util.find_spec("open_clip") else theirs
    for name in (*forms, theirs, "InfoNCE, plain"):
        assert said.count(f"\n{name}  ") >= 1, name
    for seconds in ("247.9", "243.8", "251.9"):
        assert said.count(seconds) == 2  # tf32 and bf16
    assert said.rstrip().endswith("0 not equal")


def test_a_card_is_missed_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "no card that PyTorch can use; --small runs on the CPU\n"

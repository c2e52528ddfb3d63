"""Every benchmark still runs: it imports, says its settings, and the page names it."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APART = {"__init__", "machine", "bare_loop", "postgres"}  # no benchmarks: what others use
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

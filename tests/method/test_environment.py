"""Variables for child processes: set meanwhile, and afterwards as before."""

import os
import subprocess
import sys

import pytest

from supclap.environment import environment


@pytest.mark.heavy
def test_children_inherit_them_and_afterwards_all_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUPCLAP_TEST_ONE", "old")
    monkeypatch.delenv("SUPCLAP_TEST_TWO", raising=False)
    code = "import os; print(os.environ['SUPCLAP_TEST_ONE'], os.environ['SUPCLAP_TEST_TWO'])"
    said = []

    def fail() -> None:
        with environment(SUPCLAP_TEST_ONE="new", SUPCLAP_TEST_TWO="too"):
            said.append(subprocess.check_output([sys.executable, "-c", code], text=True))
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert said == ["new too\n"]
    assert os.environ["SUPCLAP_TEST_ONE"] == "old"
    assert "SUPCLAP_TEST_TWO" not in os.environ

"""What tests on simulated hosts share: they run where this machine can have such hosts."""

import pytest
from hosts import missing


@pytest.fixture(autouse=True, scope="session")
def _able() -> None:
    why = missing()
    if why:
        pytest.skip(why)

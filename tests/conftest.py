"""What all tests share: places of their own, and a guard that keeps `make quick` quick."""

import multiprocessing.process
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator

import pytest

MARKS = ("heavy", "long", "cluster")
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
_light: list[str] = []  # the unmarked test that runs now


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a user has set or kept is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPCLAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("SUPCLAP_STORAGE", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        # A suite that is started with nohup would hand its deafness down to all that it starts.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def own_code() -> Iterator[None]:
    """What a test loads of a user's code, an experiment file's own say, is no later test's."""
    from supclap.user_code import forgotten

    with forgotten():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most that is heavy come first: of two processes neither is left with a long
    one when all else is done."""
    heavy = Counter(item.path for item in items if item.get_closest_marker("heavy"))
    items.sort(key=lambda item: -heavy[item.path])  # in each file the order stays


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not any(item.get_closest_marker(mark) for mark in MARKS):
        _light.append(item.nodeid)
    try:
        return (yield)
    finally:
        _light.clear()


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: fails an unmarked test that starts a process, and so Ray or a browser."""
    # Python's own `platform` asks uname once in a process, for whoever is first to want it.
    own = event == "subprocess.Popen" and arguments[:1] == ("uname",)
    if _light and event in STARTS and os.getpid() == OWN and not own:
        test = _light.pop()  # once: what cleans up after the failure may start what it needs
        pytest.fail(f"{test} starts a process ({event} {arguments[:2]}): mark it `heavy`")


def _start(process: multiprocessing.process.BaseProcess) -> None:
    sys.audit("os.fork")  # of whichever kind: spawned ones and those of a fork server have no event
    START(process)


OWN = os.getpid()
START = multiprocessing.process.BaseProcess.start
multiprocessing.process.BaseProcess.start = _start  # type: ignore[assignment]
sys.addaudithook(_refuse)

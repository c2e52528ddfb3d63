"""The package as pip installs it, from a copy of the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the packages need of the repository, in a folder called as git calls a clone of it."""
    clone = tmp_path_factory.mktemp("above") / "supclap"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    for name in ("supclap", "platform"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    return clone


def built(clone: Path, hook: str, folder: Path) -> Path:
    """The wheel that the project's own build backend makes, as pip asks it to."""
    code = f"import sys, hatchling.build; hatchling.build.{hook}(sys.argv[1])"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=clone, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def printed(code: str, site: Path, cwd: Path) -> list[str]:
    """What code prints where nothing is installed but what lies in ``site``."""
    start = f"import site; site.addsitedir({str(site)!r})\n"
    command = [sys.executable, "-S", "-c", start + code]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("place", ["above", "clone", "inside", "elsewhere"])
def test_an_editable_install_is_found_from_any_folder(
    clone: Path, place: str, tmp_path: Path
) -> None:
    """Above the clone Python sees a folder `supclap` first, which is no package."""
    wheel = built(clone, "build_editable", tmp_path / "wheel")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    folders = {
        "above": clone.parent,
        "clone": clone,
        "inside": clone / "supclap",
        "elsewhere": tmp_path,
    }
    code = (
        "import platform, supclap, supclap_platform\n"
        "print(supclap.__file__, supclap_platform.__file__, platform.__file__)"
    )
    method, house, standard = printed(code, tmp_path / "site", folders[place])
    assert Path(method) == clone / "supclap" / "__init__.py"
    assert Path(house) == clone / "platform" / "supclap_platform" / "__init__.py"
    assert clone not in Path(standard).parents


def test_a_wheel_holds_every_file_of_both_packages_and_nothing_else(
    clone: Path, tmp_path: Path
) -> None:
    wheel = zipfile.ZipFile(built(clone, "build_wheel", tmp_path / "wheel"))
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    packages = (clone / "supclap", clone / "platform" / "supclap_platform")
    wanted = {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"  # another test's process wrote it
    }
    assert found == wanted
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "supclap = supclap_platform.cli:main" in wheel.read(entry).decode()

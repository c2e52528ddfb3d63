"""What may import what: arrows between the platform's folders go one way, none runs in a circle.

The drawing in CONTRIBUTING.md is held to the same list. And the platform reaches what trains a cell
through one door, `experiment.method`: `supclap` is behind it like any other method.
"""

import ast
import graphlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLATFORM = ROOT / "platform" / "supclap_platform"
# From the command line down. A folder may import from those that it names, and from itself.
ARROWS: dict[str, set[str]] = {
    "commands": {"search", "running", "results", "mirror", "ledger", "experiment"},
    "search": {"running", "results", "mirror", "ledger", "experiment"},
    "running": {"mirror", "ledger", "experiment"},
    "results": {"mirror", "ledger", "experiment"},
    "mirror": {"ledger", "experiment"},
    "ledger": {"experiment"},
    "experiment": set(),
}
# Modules beside the folders, which may import any of them; "" is the package itself, a notebook's.
ABOVE = {"", "cli", "__main__", "testing"}


def modules(root: Path, package: str) -> dict[str, str]:
    """Module -> source, of every file below a package's folder."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join((package, *(part for part in parts if part != "__init__")))
        found[name] = path.read_text(encoding="utf-8")
    return found


@cache
def nodes(source: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports that a source has anywhere."""
    found = ast.walk(ast.parse(source))
    return [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(source: str, known: Iterable[str]) -> set[str]:
    """The known modules that a source imports, inside functions and for types alike."""
    known = set(known)
    found = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {module}
    return found & known


def wrong_arrows(sources: Mapping[str, str]) -> list[str]:
    """Imports between two folders of the platform that ARROWS does not have."""
    wrong = []
    for module, source in sources.items():
        folder = module.split(".")[1] if module.count(".") else ""
        for target in imports(source, sources):
            to = target.split(".")[1] if target.count(".") else ""
            allowed = folder in ABOVE or to in ARROWS.get(folder, set()) | {folder}
            if to and not allowed:
                wrong.append(f"{module} -> {target}")
    return sorted(wrong)


def circle(sources: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a circle, or an empty list."""
    graph = {module: imports(source, sources) - {module} for module, source in sources.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def platform() -> dict[str, str]:
    return modules(PLATFORM, "supclap_platform")


def test_the_platform_has_its_seven_folders_and_little_beside_them() -> None:
    folders = {path.name for path in PLATFORM.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ARROWS)
    beside = {path.stem for path in PLATFORM.glob("*.py")}
    assert beside <= {"__init__", *ABOVE}


def test_arrows_between_the_folders_go_one_way(platform: dict[str, str]) -> None:
    assert wrong_arrows(platform) == []


@pytest.mark.parametrize("package", ["supclap", "supclap_platform"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    root = PLATFORM if package == "supclap_platform" else ROOT / "supclap"
    assert circle(modules(root, package)) == []


def drawn(page: str) -> set[tuple[str, str]]:
    """The arrows of a page's drawing: from folder, to folder."""
    (drawing,) = re.findall(r"^```mermaid\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^ *(\w+) --> (\w+)$", drawing, re.MULTILINE))


def reached(arrows: set[tuple[str, str]], start: str) -> set[str]:
    """Where one comes to from ``start`` over any number of arrows."""
    found: set[str] = set()
    ahead = {start}
    while ahead:
        ahead = {to for at, to in arrows if at in ahead} - found
        found |= ahead
    return found


def test_the_drawing_in_contributing_shows_these_arrows(platform: dict[str, str]) -> None:
    """Each is drawn or follows from those that are; none is drawn that no import bears out."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    arrows = drawn(page)
    folders = {folder for arrow in arrows for folder in arrow}
    assert folders == {*ARROWS, "supclap"}
    for folder, below in ARROWS.items():
        assert reached(arrows, folder) == below | {"supclap"}
        assert f"| `{folder}` |" in page
    borne_out = {
        (module.split(".")[1], target.split(".")[1])
        for module, source in platform.items()
        for target in imports(source, platform)
        if module.count(".") > 1 and target.count(".") > 1
    }
    assert arrows - {("experiment", "supclap")} <= borne_out


def test_an_arrow_drawn_the_other_way_or_left_out_is_seen() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    turned = page.replace("mirror --> ledger", "ledger --> mirror")
    assert reached(drawn(turned), "mirror") != ARROWS["mirror"] | {"supclap"}
    left_out = page.replace("    search --> results\n", "")
    assert reached(drawn(left_out), "search") != ARROWS["search"] | {"supclap"}


def test_the_arrows_themselves_have_no_circle() -> None:
    order = list(graphlib.TopologicalSorter(ARROWS).static_order())
    assert order[0] == "experiment"
    assert order[-1] == "commands"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("supclap_platform.ledger.ledger", "import supclap_platform.results.tables"),
        ("supclap_platform.mirror.tracking", "import supclap_platform.results.formats"),
        ("supclap_platform.results.report", "from supclap_platform.search import study"),
        ("supclap_platform.experiment.cells", "def f():\n    import supclap_platform.ledger.plan"),
        ("supclap_platform.running.grid", "import supclap_platform.results.report"),
    ],
)
def test_a_planted_arrow_is_found(platform: dict[str, str], module: str, line: str) -> None:
    planted = {**platform, module: f"{platform[module]}\n{line}\n"}
    assert [found.split(" -> ")[0] for found in wrong_arrows(planted)] == [module]


def test_a_planted_circle_is_found(platform: dict[str, str]) -> None:
    lower, upper = "supclap_platform.ledger.leases", "supclap_platform.ledger.ledger"
    assert upper not in circle(platform)
    planted = {**platform, lower: f"{platform[lower]}\nfrom {upper} import Ledger\n"}
    assert {lower, upper} <= set(circle(planted))


# What all of the project rests on: words, files, errors, what runs somebody else's file.
BASICS = {
    f"supclap.{name}"
    for name in (
        *("csv_text", "document", "environment", "errors", "events", "explaining", "interruption"),
        *(
            "output",
            "overrides",
            "progress",
            "run_files",
            "scalars",
            "scratch",
            "secrets",
            "section",
            "s3",
            "storage",
        ),
        *("stored", "waiting", "wording", "checkpoint", "workers", "data.cache", "usage", "memory"),
        "device_share",
        "exchange",
        *("answers", "copies", "given_paths", "hub", "local_files", "objects"),
        *(
            "later_keys",
            "user_code",
            "user_code.imports",
            "user_code.loading",
            "version",
            "patience",
        ),
    )
}
# `supclap`'s side of the door, and the door itself, which hashes code as `supclap` does.
BEHIND = {
    "supclap_platform.experiment.supclap_method",
    "supclap_platform.experiment.metrics",
    "supclap_platform.experiment.identity",
}
DOOR = {"supclap_platform.experiment.method": {"supclap.code"}}
OWN = {  # of `supclap` alone, whatever else stands beside them
    "supclap_platform.experiment.metrics",
    "supclap_platform.experiment.identity.signature",
}
# Models that are kept, and what a machine has: no training.
OTHERS = {
    "supclap_platform.mirror.logged_model": {"supclap.model.folder"},
    "supclap_platform.mirror.pyfunc_model": {"supclap.model.clap"},
    "supclap_platform.results.opened": {"supclap.model.clap"},
    "supclap_platform.commands.doctor": {"supclap.audio_library"},
    "supclap_platform.commands.compare_models": {"supclap.use_commands", "supclap.queries"},
}


def beside_the_door(sources: dict[str, str], known: set[str]) -> list[str]:
    """Imports of the platform that go past the door."""
    wrong = []
    for module, source in sources.items():
        allowed = BASICS | DOOR.get(module, set()) | OTHERS.get(module, set())
        found = imports(source, known)
        if module in BEHIND:
            continue
        wrong += [f"{module} -> {name}" for name in found if name not in allowed]
        wrong += [f"{module} -> {name}" for name in imports(source, OWN)]
    return sorted(wrong)


@pytest.fixture(scope="module")
def known() -> set[str]:
    return {name for name in modules(ROOT / "supclap", "supclap") if name != "supclap"}


def test_the_platform_goes_through_the_door(platform: dict[str, str], known: set[str]) -> None:
    assert beside_the_door(platform, known) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("supclap_platform.running.attempt", "def f():\n    from supclap.training import fit"),
        ("supclap_platform.ledger.plan", "from supclap.config import RunConfig"),
        ("supclap_platform.search.warm", "import supclap.code"),
        ("supclap_platform.experiment.settings", "from supclap import feasibility"),
        ("supclap_platform.results.tables", "import supclap_platform.experiment.metrics"),
        (
            "supclap_platform.search.trials",
            "from supclap_platform.experiment.identity import signature",
        ),
        ("supclap_platform.mirror.runs", "from supclap.data import open_data"),
    ],
)
def test_a_planted_import_past_the_door_is_found(
    platform: dict[str, str], known: set[str], module: str, line: str
) -> None:
    planted = {**platform, module: f"{platform[module]}\n{line}\n"}
    assert [one.split(" -> ")[0] for one in beside_the_door(planted, known)] == [module]

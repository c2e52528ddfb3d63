"""The pages: every link leads somewhere, every command and experiment file they name exists."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from supclap_platform.cli import COMMANDS
from supclap_platform.experiment.schema import (
    ColumnSection,
    FigureSection,
    RowSection,
    TableSection,
)

import supclap

ROOT = Path(__file__).parent.parent
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*FRONT, *sorted((ROOT / "docs").rglob("*.md"))]


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub."""
    lines = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link
    for command in re.findall(r"(?:^|`)supclap ([a-z]+)", text, re.MULTILINE):
        assert command in COMMANDS, command
    for file in re.findall(r"\b(?:experiments|tests|benchmarks)/[\w/]+\.(?:yaml|py)\b", text):
        assert (ROOT / file).exists(), file
    for module in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (ROOT / "benchmarks" / f"{module}.py").exists(), module


def test_the_report_page_names_every_key_of_a_table_and_a_figure_for_a_paper() -> None:
    section = (ROOT / "docs/report.md").read_text(encoding="utf-8").partition("## For a paper")[2]
    keys = {*ColumnSection.model_fields, *RowSection.model_fields, *FigureSection.model_fields}
    keys |= set(TableSection.model_fields) - {"published"}
    assert {key for key in keys if not re.search(rf"\b{key}s?\b", section)} == set()
    place = {"columns": ["t2a.R@1"], "rows": ["A"], "label": "tab:ablation"}
    assert TableSection.model_validate(place).label in section
    least, most = (FigureSection(figure="drift", width=size).width for size in (1.5, 40))
    assert f"each {least:g} to {most:g}" in section
    for size in (1.4, 41):
        with pytest.raises(ValidationError):
            FigureSection(figure="drift", width=size)


def tree_of(page: str) -> list[str]:
    """The paths that the README's tree names, each below the line that it is indented under."""
    section = page.partition("## The repository")[2]
    (drawn,) = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[:1]
    found, above = [], ""
    for line in drawn.splitlines():
        names, _, about = line.strip().partition("   ")
        assert about.strip(), f"'{line}' does not say what it is"
        if not line.startswith(" "):
            above = names if names.count("/") and " " not in names else ""
        found += [f"{above if line.startswith(' ') else ''}{name}" for name in names.split()]
    return found


def absent(page: str) -> list[str]:
    """Of the paths in the tree, those that there are not; a folder's name ends in a slash."""
    paths = [(path, ROOT / path) for path in tree_of(page)]
    return [p for p, at in paths if not (at.is_dir() if p.endswith("/") else at.is_file())]


def test_the_tree_in_the_readme_names_what_there_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert absent(readme) == []
    platform = "platform/supclap_platform"
    inside = {path.parent.name for path in (ROOT / platform).glob("*/__init__.py")}
    assert {f"{platform}/{name}/" for name in inside} <= set(tree_of(readme))
    changed = readme.replace("tests/ benchmarks/", "tests/ gone/").replace("cli.py ", "main.py ")
    assert absent(changed) == [f"{platform}/main.py", "gone/"]


def test_the_readme_has_the_quick_start_as_it_is() -> None:
    """What it shows of the file is what the file says: same keys, same values."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n# experiments/quickstart.yaml\n([^`]*)", readme, re.MULTILINE)
    whole = yaml.safe_load((ROOT / "experiments/quickstart.yaml").read_text(encoding="utf-8"))
    for key, value in yaml.safe_load(shown).items():
        assert whole[key] == value, key


def test_the_citation_names_this_version_and_the_changelog_has_it() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == supclap.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert heads[1] == f"{supclap.__version__} ({citation['date-released']})"


def test_a_commit_is_held_to_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    lines = [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]
    assert [line.removesuffix(" .") for line in lines] == entries
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for page in FRONT:
        for target in re.findall(r"^make (\w+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert target in targets, target

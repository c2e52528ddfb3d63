"""The user's code: loaded once, hashed part by part, the same from any place."""

import sys
from pathlib import Path

import pytest
from tiny_run import make_collection, tiny_config

from supclap import registry
from supclap.code import own_code
from supclap.config import RunConfig, parse_config
from supclap.errors import InputError
from supclap.events import Finished, Started
from supclap.launcher import launch
from supclap.user_code import forgotten, load_code, parts_of, version_of_object

SOURCE = '''"""Two ideas."""
from __future__ import annotations

import math
from torch.nn.functional import relu, softplus
from supclap.parts import Part, register
from shared_math import half

LIMIT = 3.0
TABLE = {"a": 1}


class Term(Part):
    kind = "loss term"


class Base(Part):
    kind = "base loss"


def bend(x):
    return relu(x) * LIMIT


def weigh(x):
    return softplus(x) + TABLE["a"]


@register("angle")
class Angle(Term):
    """An angle."""
    margin: float = 0.2

    def forward(self, pairs):
        return bend(pairs.audio) + math.pi  # in radians


@register("hard")
class Hard(Base):
    beta: float = 0.5

    def forward(self, pairs):
        return half(weigh(pairs.audio))


if __name__ == "__main__":
    print("a look at it")
'''
HELPER = "def half(x):\n    return x / 2\n"
BOTH = {"angle", "hard"}
ANGLE = {"loss": {"terms": {"angle": {}}}}
HARD = {"loss": {"name": "hard"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_idea.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "shared_math.py").write_text(HELPER, encoding="utf-8")
    return tmp_path


def versions(folder: Path) -> dict[str, str]:
    """The version of each part, by name, of the folder's file as it is now."""
    load_code(["my_idea.py"], folder)
    return {
        name.partition(": ")[2]: version
        for values in (ANGLE, HARD)
        for name, version in parts_of(parse_config(values)).items()
    }


def edited(folder: Path, old: str, new: str, file: str = "my_idea.py") -> set[str]:
    """The parts that an edit changes."""
    before = versions(folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    after = versions(folder)
    return {name for name in before if before[name] != after[name]}


def test_parts_are_registered_and_named_by_their_file(folder: Path) -> None:
    code = load_code(["my_idea.py"], folder)
    config = parse_config(ANGLE)
    assert list(parts_of(config)) == ["my_idea.py: angle"]
    assert set(code.files) == {"my_idea.py", "shared_math.py"}
    modules = own_code().modules(config)
    assert modules["my_idea.py: angle"] == parts_of(config)["my_idea.py: angle"]
    assert modules.items() - own_code().modules(RunConfig()).items() >= parts_of(config).items()
    assert not parts_of(RunConfig())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        # Words, and what is never run.
        ("# in radians", "# in degrees", set()),
        ('"""An angle."""', '"""An angle, in other words."""', set()),
        ("a look at it", "another look", set()),
        ("import math\n", "import math\nimport fractions\n", set()),
        ("relu, softplus", "relu, softplus, gelu", set()),
        ("LIMIT = 3.0", "LIMIT = 3.0\nUNUSED = 1", set()),
        # One part alone, through whatever it needs.
        ("math.pi", "math.e", {"angle"}),
        ("margin: float = 0.2", "margin: float = 0.3", {"angle"}),
        ("LIMIT = 3.0", "LIMIT = 4.0", {"angle"}),
        ("relu(x) *", "relu(x) +", {"angle"}),
        ("import relu, softplus", "import selu as relu, softplus", {"angle"}),
        ('kind = "loss term"', 'kind = "loss term"\n    more = 1', {"angle"}),
        ("beta: float = 0.5", "beta: float = 0.6", {"hard"}),
        ('{"a": 1}', '{"a": 2}', {"hard"}),
        ("half(weigh(", "weigh(half(", {"hard"}),
        # What acts when the file is imported counts for both.
        ('{"a": 1}', '{"a": 1}\nTABLE["a"] = 1', {"angle", "hard"}),
        ('{"a": 1}', '{"a": 1}\nprint', {"angle", "hard"}),
        ("LIMIT = 3.0", "LIMIT = 3.0\n_ = math.trunc(1)", set()),
        ("LIMIT = 3.0", "LIMIT = 3.0\n_ = [].append(1)", {"angle", "hard"}),
        ("def bend(x)", "Term.more = 1\ndef bend(x)", {"angle", "hard"}),
        ("def bend(x)", "def f():\n    TABLE['b'] = 1\n_ = f()\ndef bend(x)", {"angle", "hard"}),
        ("def bend(x)", "def f():\n    return 1\n_ = f()\ndef bend(x)", set()),
        ("def bend(x)", "def f(g):\n    Term.g = g\n@f\ndef h(): ...\ndef bend(x)", BOTH),
        ("def bend(x)", "def f(g):\n    return g\n@f\ndef h(): ...\ndef bend(x)", set()),
        ("def bend(x)", "hooks = set()\n@hooks.add\ndef h(): ...\ndef bend(x)", BOTH),
        ("def bend(x)", "import functools\n@functools.cache\ndef h(): ...\ndef bend(x)", set()),
        ("def bend(x)", "def f():\n    TABLE.clear()\nclass h(f() or Term): 0\ndef bend(x)", BOTH),
        ("annotations\n", "annotations, division\n", {"angle", "hard"}),
        # What cannot be followed: the whole file.
        ("+ math.pi", "+ globals()['LIMIT']", {"angle"}),
        ("from shared_math import half", "from shared_math import *", {"angle", "hard"}),
    ],
)
def test_an_edit_changes_the_parts_that_it_can_change(
    folder: Path, old: str, new: str, changed: set[str]
) -> None:
    assert edited(folder, old, new) == changed


def test_a_helper_counts_whole_for_those_that_use_it(folder: Path) -> None:
    assert edited(folder, "x / 2", "x / 3", "shared_math.py") == {"hard"}
    assert edited(folder, "x / 3", "x / 3  # a third", "shared_math.py") == set()
    text = "import further\n" + HELPER
    (folder / "further.py").write_text("A = 1\n", encoding="utf-8")
    (folder / "shared_math.py").write_text(text, encoding="utf-8")
    assert edited(folder, "A = 1", "A = 2", "further.py") == {"hard"}
    # Once it acts when it is imported, it counts for all that is in the file.
    assert edited(folder, "A = 2", "A = 2\nA.real", "further.py") == {"angle", "hard"}
    assert edited(folder, "A.real", "A.imag", "further.py") == {"angle", "hard"}


@pytest.mark.parametrize(
    "reading",
    ["getattr(self, 'LIM' + 'IT')", "globals()['LIMIT']", "__import__('sys').modules[__name__]"],
)
def test_what_is_read_by_its_text_makes_a_part_depend_on_the_whole_file(
    folder: Path, reading: str
) -> None:
    path = folder / "my_idea.py"
    path.write_text(SOURCE.replace("math.pi", reading), encoding="utf-8")
    assert edited(folder, "beta: float = 0.5", "beta: float = 0.6") == {"angle", "hard"}


def test_what_a_part_imports_of_the_package_is_code_of_its_runs(folder: Path) -> None:
    path = folder / "my_idea.py"
    text = SOURCE.replace(
        "import math\n", "import math\nfrom supclap.losses.siglip import SigLIP\n"
    )
    path.write_text(text.replace("half(weigh(", "(SigLIP, half)[1](weigh("), encoding="utf-8")
    load_code(["my_idea.py"], folder)
    angle, hard = (set(own_code().modules(parse_config(values))) for values in (ANGLE, HARD))
    assert "supclap.losses.siglip" in hard
    assert "supclap.losses.siglip" not in angle  # it stands in the same file, and needs it not


def test_an_edit_is_loaded_in_the_place_of_what_was_before(folder: Path) -> None:
    load_code(["my_idea.py"], folder)
    before = registry.class_of("loss term", "angle")
    load_code(["my_idea.py"], folder)
    assert registry.class_of("loss term", "angle") is before  # nothing was edited
    path = folder / "my_idea.py"
    path.write_text(SOURCE.replace('"angle"', '"bent"').replace("0.2", "0.7"), encoding="utf-8")
    load_code(["my_idea.py"], folder)
    assert registry.own("loss term", "angle") is None
    assert registry.class_of("loss term", "bent")().margin == 0.7
    # A helper alone: the file that rests on it is run again.
    (folder / "shared_math.py").write_text(HELPER + "MORE = 1\n", encoding="utf-8")
    load_code(["my_idea.py"], folder)
    assert sys.modules["my_idea"].half is sys.modules["shared_math"].half


def test_a_failed_edit_leaves_what_was_loaded(folder: Path) -> None:
    load_code(["my_idea.py"], folder)
    before = registry.class_of("loss term", "angle")
    (folder / "my_idea.py").write_text(SOURCE + "\n\n1 / 0\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"my_idea\.py:{len(SOURCE.splitlines()) + 3}: ZeroDiv"):
        load_code(["my_idea.py"], folder)
    assert registry.class_of("loss term", "angle") is before
    assert sys.modules["my_idea"].Angle is before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_library\n", r"my_idea\.py:1: ModuleNotFoundError: No module named 'no_s"),
        ("x = 1\ndef f(:\n", r"my_idea\.py:2: invalid syntax"),
        ("import sys\nsys.exit(0)\n", r"my_idea\.py:2: it ends the process while it is imported"),
        ("x = 1\nimport broken\n", r"broken\.py:2: NameError: name 'nothing' is not defined"),
        (SOURCE + "register('angle')(Angle)\n", r":48: register\('angle'\): there is already the"),
        (SOURCE.replace("margin: float", "margin: Angle"), r":\d+: the loss term 'angle': .*Angle"),
        ("x = 1\0\n", r"my_idea\.py:1: .*null byte"),
    ],
)
def test_a_mistake_is_one_line_with_the_place_in_the_users_code(
    folder: Path, text: str, told: str
) -> None:
    (folder / "broken.py").write_text("y = 1\nnothing\n", encoding="utf-8")
    (folder / "my_idea.py").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_code(["my_idea.py"], folder)
    assert registry.all_parts() == []
    assert "my_idea" not in sys.modules


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../my_idea.py", "expected a file in this file's folder or below it"),
        ("/etc/my_idea.py", "expected a file in this file's folder or below it"),
        ("my_ide.py", "no file 'my_ide.py' in .*; did you mean 'my_idea.py'?"),
        ("random.py", "stands for Python's own module 'random'; rename it"),
        ("numpy.py", "stands for the installed module 'numpy'; rename it"),
        ("my-idea.py", "is no name that Python can import"),
        ("out.py", "is a link that leads out of"),
        ("no_such_module", "no installed module 'no_such_module', and no file: files end in .py"),
        ("supclap.config", "is no module of yours"),
        ("a b", "expected a file beside this one, such as my_idea.py"),
        ("strange.py", "a module 'strange' is loaded in this process already; rename the file"),
    ],
)
def test_a_name_that_names_no_code_of_the_users_is_refused(
    folder: Path, name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "strange", type(sys)("strange"))
    for other in ("random.py", "numpy.py", "my-idea.py", "strange.py"):
        (folder / other).write_text("x = 1\n", encoding="utf-8")
    (folder / "out.py").symlink_to(__file__)
    with pytest.raises(InputError, match=told):
        load_code([name], folder)


def test_a_file_that_lies_there_by_chance_stands_for_nothing(folder: Path) -> None:
    (folder / "fractions.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "my_idea.py").write_text(SOURCE + "import decimal\n", encoding="utf-8")
    load_code(["my_idea.py"], folder)
    assert "fractions" not in sys.modules or hasattr(sys.modules["fractions"], "Fraction")


def test_files_below_packages_and_two_entries_that_share_a_helper(folder: Path) -> None:
    (folder / "ideas" / "kit").mkdir(parents=True)
    (folder / "ideas" / "kit" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "ideas" / "kit" / "more.py").write_text(HELPER, encoding="utf-8")
    for name in ("one", "two"):
        text = (
            "from supclap.parts import Part, register\nfrom kit.more import half\n"
            f"@register('{name}')\nclass Mine(Part):\n    kind = 'loss term'\n    f = half\n"
        )
        (folder / "ideas" / f"{name}.py").write_text(text, encoding="utf-8")
    code = load_code(["ideas/one.py", "ideas/two.py", "my_idea.py"], folder)
    assert set(code.files) == {
        *("ideas/one.py", "ideas/two.py", "ideas/kit/__init__.py", "ideas/kit/more.py"),
        *("my_idea.py", "shared_math.py"),
    }
    config = parse_config({"loss": {"terms": {"one": {}, "two": {}}}})
    assert list(parts_of(config)) == ["one.py: one", "two.py: two"]
    (folder / "two.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"two\.py: .*two\.py stands for the module 'two' already"):
        load_code(["ideas/two.py", "two.py"], folder)


def test_two_files_may_not_register_one_name(folder: Path) -> None:
    (folder / "other.py").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(InputError, match=r"other\.py:\d+: register\('angle'\): there is already"):
        load_code(["my_idea.py", "other.py"], folder)
    assert registry.all_parts() == []


def test_an_installed_module_counts_within_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "mylab"
    lab.mkdir()
    (lab / "__init__.py").write_text("", encoding="utf-8")
    (lab / "losses.py").write_text(SOURCE.replace("from shared_math", "from .tools"), "utf-8")
    (lab / "tools.py").write_text(HELPER, encoding="utf-8")
    (lab / "unused.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    code = load_code(["mylab.losses"], tmp_path / "anywhere")
    assert {name.rpartition("/")[2] for name in code.files} == {
        *("__init__.py", "losses.py", "tools.py")
    }
    before = parts_of(parse_config(HARD))
    assert list(before) == ["mylab.losses: hard"]
    angle = parts_of(parse_config(ANGLE))
    (lab / "tools.py").write_text(HELPER + "C = 1\n", encoding="utf-8")
    load_code(["mylab.losses"], tmp_path / "anywhere")
    assert parts_of(parse_config(HARD)) != before
    assert parts_of(parse_config(ANGLE)) == angle


def test_a_part_whose_file_is_not_loaded_has_no_version(folder: Path) -> None:
    with forgotten():
        load_code(["my_idea.py"], folder)
        config = parse_config(ANGLE)
    with pytest.raises(InputError, match=r"no loss term 'angle'.*is not loaded; name the file"):
        parts_of(config)


def test_parts_that_were_forgotten_come_back_with_their_file(folder: Path) -> None:
    with registry.forgotten():
        load_code(["my_idea.py"], folder)
    assert registry.own("loss term", "angle") is None
    load_code(["my_idea.py"], folder)
    assert parts_of(parse_config(ANGLE))


def test_a_class_of_no_entry_has_the_version_of_its_file() -> None:
    place, version = version_of_object(test_a_class_of_no_entry_has_the_version_of_its_file)
    assert place == "test_user_code.py"
    assert len(version) == 12


@pytest.mark.heavy
def test_every_process_of_a_run_loads_the_code_before_the_configuration(tmp_path: Path) -> None:
    source = (
        "import enum\nfrom supclap.parts import Schedule, register\n"
        "class Way(enum.Enum):\n    UP = 'up'\n    FLAT = 'flat'\n"
        "@register('ways')\nclass Ways(Schedule):\n    way: Way = Way.UP\n"
        "    def share(self, step, steps_per_epoch, epochs):\n"
        "        return 1.0 if self.way is Way.FLAT else 0.5\n"
    )
    (tmp_path / "my_idea.py").write_text(source, encoding="utf-8")
    load_code(["my_idea.py"], tmp_path)
    schedule = {"name": "ways", "way": "flat"}
    config = tiny_config(make_collection(tmp_path / "tones"), optimizer__schedule=schedule)
    (tmp_path / "my_idea.py").unlink()  # the processes get what this one has read
    started, *_, finished = launch(config, str(tmp_path / "run"), workers=2)
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert "my_idea.py: ways" in started.modules

"""The front door: what the help shows, what a mistyped word gets, what completion costs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from supclap_platform.cli import COMMANDS, GROUPS, main

from supclap.config import RunConfig
from supclap.explaining import keys_of, nearest_keys

ROOT = Path(__file__).parents[2]


def typed(line: str) -> Result:
    """The command line, from the root of the clone."""
    return CliRunner().invoke(main, shlex.split(line), prog_name="supclap")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_help_shows_every_command_once_in_its_group() -> None:
    text = typed("--help").output
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert titles == ["Options", *GROUPS]
    shown = re.findall(r"^  ([a-z]+) {2,}\S", text, re.MULTILINE)
    assert shown == list(COMMANDS)
    assert "..." not in text.partition("Options:")[2]  # nothing is cut
    assert typed("-h").output == text


def test_every_module_of_commands_is_in_the_help() -> None:
    """A command that is written and entered nowhere cannot be called."""
    shown = {entry.place for entry in COMMANDS.values()}
    sources = [*(ROOT / "platform/supclap_platform/commands").glob("*.py")]
    sources += [ROOT / "supclap/train_command.py", ROOT / "supclap/use_commands.py"]
    sources += [ROOT / "supclap/data/prepare_command.py", ROOT / "supclap/check_command.py"]
    sources += [ROOT / "supclap/data/overlap_command.py"]
    found = set()
    for path in sources:
        base = ROOT / "platform" if "supclap_platform" in path.parts else ROOT
        module = ".".join(path.relative_to(base).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"^@click\.command\(.*?^def (\w+)", text, re.MULTILINE | re.DOTALL)
        names += re.findall(r"^@click\.group\(.*?^def (\w+)", text, re.MULTILINE | re.DOTALL)
        found |= {f"{module}:{name}" for name in names}
    assert found == shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example_that_can_be_typed(name: str) -> None:
    last = typed(f"{name} --help").output.rstrip().splitlines()[-2:]
    example = COMMANDS[name].example
    assert [line.strip() for line in last] == ["Example:", example]
    words = shlex.split(example)
    assert words[:2] == ["supclap", name]
    command = main.get_command(click.Context(main), name)
    assert command is not None
    command.make_context(name, words[2:])  # raises where an option or a value is not the command's
    for word in words:
        if word.startswith("experiments/"):
            assert (ROOT / word.partition("@")[0]).is_file()  # a side of `compare`


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu", "no command 'rnu'; did you mean 'run'?"),
        ("tables FILE", "no command 'tables'; did you mean 'table'?"),
        ("help", "no command 'help'; did you mean 'supclap --help'?"),
        ("help run", "no command 'help'; did you mean 'supclap run --help'?"),
        ("version", "no command 'version'; did you mean 'supclap --version'?"),
        ("run FILE --resume", "no option --resume; the same command again goes on where it was"),
        ("run FILE --cpu 2", "; did you mean '--cpus'?; give --set resources.cpu=2"),
        ("plan experiments/quickstart.yml", "; did you mean experiments/quickstart.yaml?"),
        ("xyzzy", "no command 'xyzzy' (supclap --help lists them)"),
        ("a.yaml --set x=1", "no command 'a.yaml'; did you mean 'supclap run a.yaml --set x=1'?"),
        ("train --epochs 3", "supclap train has no option --epochs; give --set epochs=3"),
        ("train --epochs=3", "supclap train has no option --epochs; give --set epochs=3"),
        ("train --epochs", "supclap train has no option --epochs; give --set epochs=VALUE"),
        ("train --epoch 3", "supclap train has no option --epoch; give --set epochs=3"),
        ("train --batch-size 32", "no option --batch-size; give --set batch_size=32"),
        ("train --lr 1e-4", "no option --lr; give --set optimizer.lr=1e-4"),
        ("train --learning-rate 1e-4", "; give --set optimizer.lr=1e-4"),
        (
            "train --seed 3",
            "no option --seed; give --set seed=3; --seed is an option of supclap pl",
        ),
        (
            "train --sides both",
            "supclap train has no option --sides; give --set loss.svr.sides=both",
        ),
        (
            "train --layers 3",
            "give --set model.audio.layers=3 or --set model.text.layers=3",
        ),
        ("run FILE --epochs 3", "supclap run has no option --epochs; give --set epochs=3"),
        ("plan FILE --lr 1", "supclap plan has no option --lr; give --set optimizer.lr=1"),
        ("run FILE --gpu 1", "give --set resources.gpu=1"),
        ("run FILE --workers 2", "; give --set resources.workers=2; --workers is an option of su"),
        ("table FILE --seed 3", "no option --seed; it is a key of the experiment file: 'seeds'"),
        ("plan FILE --claims x", "it is a key of the experiment file: 'claims'"),
        ("plan FILE --mixed", "no option --mixed; --mixed is an option of supclap run, table, fig"),
        ("ui --address x", "no option --address; --address is an option of supclap run, submit"),
        ("table FILE --formt md", "no option --formt; did you mean '--format'?"),
        ("run -profile paper FILE", "no option -p; did you mean '--profile'?"),
        ("evaluate --model M", "no option --model; MODEL is given without an option's name; --mo"),
        ("train --xyzzy", "supclap train has no option --xyzzy (supclap train --help)"),
        ("plan", "missing argument 'FILE' (supclap plan --help)"),
        ("plan FILE --set", "option '--set' requires an argument (supclap plan --help)"),
        ("plan FILE epochs=3", "to change the configuration give --set epochs=3 (supclap plan"),
        ("plan FILE a=3 b.c=x", "give --set a=3 --set b.c=x (supclap plan --help)"),
        ("table FILE --format tx", "'tx' is not one of 'txt', 'md'"),
        ("train --set lr=3", "--set lr: unknown key 'lr'; did you mean 'optimizer.lr'?"),
        ("train --set epoch=3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("train --set svr.alpha=3", "unknown key 'svr'; did you mean 'loss.svr'?"),
        ("train --set loss.lr=3", "unknown key 'loss.lr'; did you mean 'optimizer.lr'?"),
        ("train --set wd=3", "unknown key 'wd'; did you mean 'optimizer.weight_decay'?"),
        ("plan experiments/quickstart.yaml --set lr=3", "; did you mean 'optimizer.lr'?"),
        ("plan experiments/table3_ablation.yaml --profile papr", "; did you mean 'paper'?"),
        (
            "plan experiments/quickstart.yaml --set select.metric=t2a.R@11",
            "; did you mean 't2a.R@1",
        ),
        (
            "plan quickstart",
            "cannot be read: No such file or directory; did you mean experiments/q",
        ),
        ("plan experiments/quikstart.yaml", "; did you mean experiments/quickstart.yaml?"),
    ],
)
def test_a_mistyped_word_is_one_line_with_what_was_meant(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if line.startswith("train"):
        monkeypatch.chdir(tmp_path)
    result = typed(line)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("supclap: ")
    assert not list(tmp_path.iterdir())


def test_what_is_proposed_is_accepted() -> None:
    """Every key that a hint can name is one that the configuration has."""
    keys = keys_of(RunConfig)
    assert {"epochs", "optimizer.lr", "loss.svr.radius", "model.audio.width"} <= set(keys)
    assert len(keys) == len(set(keys))
    for key in keys:
        part = key.rpartition(".")[2]
        assert set(nearest_keys(part, keys)) <= set(keys)
        assert key in nearest_keys(part, keys) or part in keys
    assert nearest_keys("xyzzy", keys) == []


def completed(words: str) -> tuple[list[str], set[str]]:
    """What the shell offers after ``words``, and the heavy packages that were imported for it."""
    code = (
        "import sys\n"
        "from supclap_platform.cli import main\n"
        "try:\n    main(prog_name='supclap')\n"
        "finally:\n"
        "    heavy = {'torch', 'ray', 'mlflow', 'optuna', 'transformers', 'matplotlib'}\n"
        "    print(*({m.split('.')[0] for m in sys.modules} & heavy), file=sys.stderr)\n"
    )
    asked = {
        "_SUPCLAP_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines()], set(done.stderr.split())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("supclap re", ["report"]),
        ("supclap s", ["status", "stop", "sync", "submit", "search"]),
        ("supclap run --pro", ["--profile"]),
        ("supclap table x --format m", ["md"]),
        ("supclap train --w", ["--workers"]),
    ],
)
def test_completion_offers_commands_options_and_values_and_loads_nothing_heavy(
    words: str, offered: list[str]
) -> None:
    assert completed(words) == (offered, set())

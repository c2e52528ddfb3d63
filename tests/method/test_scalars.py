"""What a plain word of YAML stands for, and that it is the same in every place."""

import json
import math
from pathlib import Path

import pytest
import yaml

from supclap.config import RunConfig, load_config, parse_config
from supclap.document import read_value
from supclap.errors import InputError
from supclap.overrides import parse_changes
from supclap.scalars import Dumper, Loader

# Words on which YAML 1.1 and 1.2 agree, or of which one reading would surprise.
READ = {
    "1e-3": 0.001, "1E5": 1e5, "+1.5e+2": 150.0, ".5": 0.5, "5.": 5.0, "-0.0": 0.0, "0": 0,
    "-7": -7,
    "1e3": 1000.0, "123456789012345678901234567890": 123456789012345678901234567890,
    "yes": "yes", "No": "No", "on": "on", "OFF": "OFF", "y": "y", "true": True, "FALSE": False,
    "~": None, "null": None, "2024-01-02": "2024-01-02", "2001-12-14t21:59:43.10-05:00":
    "2001-12-14t21:59:43.10-05:00", "1.2.3": "1.2.3", "=": "=", "12e": "12e", "0x": "0x",
    "a_1": "a_1", "1e": "1e", "'010'": "010", '"1:30"': "1:30", "１２": "１２", "3-4": "3-4",
    "!!str 010": "010", "!!float 3": 3.0, ".inf": math.inf,
}  # fmt: skip
REFUSED = {
    "010": ("8 (octal)", "10"), "-017": ("-15 (octal)", "-17"), "089": ("89", "a text"),
    "00": ("0 (octal)", "0"), "007": ("7 (octal)", "7"), "01.5": ("1.5", "a text"),
    "0o10": ("8 (octal)", "a text"), "0x10": ("16 (hexadecimal)", "a text"),
    "0b11": ("3 (binary)", "a text"), "1_000": ("1000", "a text"), "1_0.5": ("10.5", "a text"),
    "1:30": ("90 (base 60)", "a text"), "1:30:05": ("5405 (base 60)", "a text"),
}  # fmt: skip


@pytest.mark.parametrize("word", READ)
def test_a_word_has_one_reading(word: str) -> None:
    value = yaml.load(word, Loader=Loader)
    assert value == READ[word]
    assert type(value) is type(READ[word])


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(yaml.load(".nan", Loader=Loader))


@pytest.mark.parametrize("word", REFUSED)
def test_a_word_of_two_readings_is_refused_with_both(tmp_path: Path, word: str) -> None:
    first, second = REFUSED[word]
    told = f"can be read as {first} or as {second}; "
    path = tmp_path / "run.yaml"
    for text in (
        f"seed: {word}",
        f"optimizer:\n  lr: {word}",
        f"data: {{languages: [eng, {word}]}}",
    ):
        path.write_text(f"epochs: 3\n{text}\n")
        with pytest.raises(InputError) as caught:
            load_config(path)
        assert f"run.yaml:{len(text.splitlines()) + 1}: " in str(caught.value)
        assert told in str(caught.value)
    with pytest.raises(InputError) as caught:
        parse_changes([f"seed={word}"])
    assert str(caught.value).startswith(f"--set seed: {word} {told}")
    # Quoted it is a text, which no field for a number takes either.
    with pytest.raises(InputError) as caught:
        parse_config({"seed": word})
    assert told in str(caught.value)


@pytest.mark.parametrize("word", ["0" * 5000, "9" * 5000, "0x" + "f" * 5000, "1:" * 3000 + "1"])
def test_a_number_without_end_is_one_short_line(word: str) -> None:
    with pytest.raises(InputError) as caught:
        read_value("--set seed", word)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("lr", ["1e-3", "0.001", "1.0e-3", "'1e-3'", "+1e-3", ".001"])
def test_a_learning_rate_is_the_same_however_it_is_written(tmp_path: Path, lr: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"optimizer: {{lr: {lr}}}\n")
    assert load_config(path) == RunConfig.model_validate({"optimizer": {"lr": 0.001}})
    assert parse_config({"optimizer": {"lr": parse_changes([f"lr={lr}"])["lr"]}}) == load_config(
        path
    )


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"epochs": True}, "epochs"),
        ({"seed": False}, "seed"),
        ({"optimizer": {"betas": [0.9, True]}}, "optimizer.betas"),
        ({"loss": {"temperature": True}}, "loss.temperature"),
        ({"loss": {"svr": {"alpha": False}}}, "loss.svr.alpha"),
    ],
)
def test_a_yes_is_no_number(values: dict, key: str) -> None:
    with pytest.raises(InputError, match=f"{key}: expected a number"):
        parse_config(values)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("no", False), ("on", True)])
def test_a_yes_or_no_setting_takes_the_words_too(word: str, value: bool) -> None:
    config = parse_config({"loss": {"learn_temperature": read_value("x", word)}})
    assert config.loss.learn_temperature is value


def test_what_is_written_is_read_back() -> None:
    words = [*READ, *REFUSED, "", " ", "a: b", "- x", "\u2028", "é"]
    values = [*words, *READ.values(), 1e-5, 1e300, 10**30, [], {}, None]
    written = yaml.dump(values, Dumper=Dumper, allow_unicode=True)
    assert json.dumps(yaml.load(written, Loader=Loader)) == json.dumps(values)


@pytest.mark.heavy
def test_a_long_value_is_not_echoed() -> None:
    for items in ({"also": "x" * 100_000}, {"x" * 100_000: 1}, {"data": {"train": ["y" * 100_000]}},
                  {"also": {"z" * 100_000: {}}}, {"select": {"split": "v" * 100_000}}):  # fmt: skip
        with pytest.raises(InputError) as caught:
            parse_config(items)
        assert len(str(caught.value)) < 500
    for change in ("x" * 100_000, f"seed=[{'1,' * 100_000}", f"{'x' * 100_000}=["):
        with pytest.raises(InputError) as caught:
            parse_changes([change])
        assert len(str(caught.value)) < 300


def test_a_change_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="--set epochs: is given twice"):
        parse_changes(["epochs=3", " epochs=4"])

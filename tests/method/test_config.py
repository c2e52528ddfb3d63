"""RunConfig: what it refuses, with which words, and that none of its options is dead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from supclap.config import RunConfig, load_config, parse_config
from supclap.errors import InputError
from supclap.overrides import flat, override


def fault(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        parse_config(values, "run.yaml")
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "run.yaml: unknown key 'epoch'; did you mean 'epochs'? (valid: "),
        ({"data": {"langages": []}}, "unknown key 'data.langages'; did you mean 'languages'?"),
        ({"loss": {"svr": {"raduis": 1}}}, "unknown key 'loss.svr.raduis'; did you mean 'radius'?"),
        ({"model": {"audio": {"widht": 8}}}, "'model.audio.widht'; did you mean 'width'?"),
        ({"epochs": "many"}, "run.yaml: epochs: "),
        ({"epochs": 0}, "epochs: input should be greater than 0, got 0"),
        ({"batch_size": 1}, "batch_size: "),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr: "),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "optimizer.betas"),
        ({"data": {"seconds": 0.016}}, "data.seconds: input should be greater than or equal to 0"),
        ({"data": {"seconds": 1e300}}, "data.seconds: input should be less than or equal to 3600"),
        ({"data": {"seed": 2**63}}, "data.seed: input should be less than 9223372036854775808"),
        ({"seed": 10**20}, "run.yaml: seed: input should be less than 9223372036854775808"),
        ({"data": {"languages": []}}, "data.languages: "),
        ({"data": {"languages": ["eng", "eng"]}}, "data: 'languages' names eng twice"),
        ({"data": {"languages": ["klingon"]}}, "data.languages.0: "),
        ({"data": "collection"}, "data: 'folder' goes with name: collection"),
        ({"data": {"name": "soundscenes", "folder": "x"}}, "'folder' goes with name: collection"),
    ],
)
def test_a_mistake_is_one_line_with_key_and_hint(values: dict[str, Any], message: str) -> None:
    assert message in fault(values)


def test_the_first_of_several_mistakes_counts_the_others() -> None:
    assert fault({"epochs": 0, "seed": -1, "chunk": 0}).endswith("(and 2 more)")


def test_names_stand_for_sections() -> None:
    short = {"data": "soundscenes", "model": {"audio": "cnn", "text": "transformer"}}
    assert parse_config({**short, "loss": "siglip", "optimizer": "adamw"}) == parse_config(
        {
            "data": {"name": "soundscenes"},
            "model": {"audio": {"name": "cnn"}, "text": {"name": "transformer"}},
            "loss": {"name": "siglip"},
            "optimizer": {"name": "adamw"},
        }
    )


def test_an_override_replaces_what_it_names_and_nothing_else() -> None:
    base = {"loss": "siglip", "optimizer": {"lr": 1.0, "betas": [0.5, 0.5]}}
    changed = override(base, {"loss.temperature": 0.2, "optimizer": {"lr": 2.0}, "data.seed": 3})
    assert changed == {
        "loss": {"name": "siglip", "temperature": 0.2},
        "optimizer": {"lr": 2.0, "betas": [0.5, 0.5]},
        "data": {"seed": 3},
    }
    assert base == {"loss": "siglip", "optimizer": {"lr": 1.0, "betas": [0.5, 0.5]}}


def test_a_config_survives_its_own_json() -> None:
    config = parse_config({"loss": {"svr": {"radius": "static"}}, "data": {"languages": ["jpn"]}})
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epochs: [1\nseed: 2\n", r":\d+: not valid YAML"),
        (b"- a\n- b\n", "expected a mapping of keys, found a list"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"epochs: !!python/object:os.system {}\n", "not valid YAML"),
        (b"epochs: 3\nseed: 2024-13-45\n", r":2: seed: input should be a valid integer"),
        (b"epochs: 3\nloss:\n  svr: {raduis: static}\n", r":3: .*did you mean 'radius'"),
        (b"epochs: 3\nepochs: 4\n", r":2: the key 'epochs' stands twice"),
        (b"x: &a [*a]\n", "an anchor that contains itself"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + message):
        load_config(path)


def test_a_missing_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "empty.yaml").touch()
    assert load_config(tmp_path / "empty.yaml") == RunConfig()


def options(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        inside = _inside(info.annotation)
        sections = [a for a in inside if issubclass(a, BaseModel)]
        if sections:
            yield from options(sections[0])
        if not sections or float in inside:  # a number, in whose place a section may stand
            yield name


def _inside(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [t for a in getattr(annotation, "__args__", ()) for t in _inside(a)]


def test_no_option_is_dead() -> None:
    """Each field's name is read somewhere in the package outside of `supclap/config`."""
    package = Path(__file__).parents[2] / "supclap"
    code = "\n".join(p.read_text() for p in package.rglob("*.py") if p.parent.name != "config")
    code += code.replace('getattr(self, "from")', "self.from")  # a word of Python's own
    dead = [name for name in options(RunConfig) if not re.search(rf"\.{name}\b", code)]
    assert not dead


def test_keys_dotted_in_full_are_the_inverse_of_override() -> None:
    nested = {"loss": {"svr": {"alpha": 1}, "name": "infonce"}, "also": {}, "epochs": 3}
    dotted = {"loss.svr.alpha": 1, "loss.name": "infonce", "also": {}, "epochs": 3}
    assert flat(nested) == dotted
    assert override({}, dotted) == nested


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"model": {"audio": "cmn"}},
            "model.audio.name: no audio encoder 'cmn'; did you mean",
        ),
        ({"model": {"text": "transfromer"}}, "model.text.name: no text encoder 'transfromer'; did"),
        ({"loss": {"svr": {"radius": "x"}}}, "loss.svr.radius: no radius 'x' (known: dynamic, sta"),
        ({"loss": "infonec"}, "loss.name: no base loss 'infonec'; did you mean 'infonce'?"),
        (
            {"loss": {"terms": {"angle": {}}}},
            "loss.terms.angle.name: no loss term 'angle' (",
        ),
        ({"optimizer": {"schedule": "cosin"}}, "optimizer.schedule.name: no schedule 'cosin'; did"),
    ],
)
def test_a_part_that_nobody_has_registered_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_config(values)
    assert told in str(caught.value)
    assert "got" not in str(caught.value)

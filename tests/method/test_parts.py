"""Keys of a part: typed, checked and a part of the configuration's identity."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from supclap import registry
from supclap.config import RunConfig, parse_config, parse_stored
from supclap.errors import InputError
from supclap.later_keys import identity_of
from supclap.parts import Part, register


class Term(Part):
    kind = "loss term"


class Base(Part):
    kind = "base loss"


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():

        @register("angle")
        class Angle(Term):
            LIMIT: ClassVar[float] = 3.0
            margin: float = 0.2
            degrees: Annotated[int, Field(ge=0, le=90)] = 10
            way: Literal["in", "out"] = "in"
            _note: str = "no key"

        @register("hard")
        class Hard(Base):
            beta: float

        yield


def terms(**keys: Any) -> RunConfig:
    return parse_config({"loss": {"terms": {"angle": keys}}})


def test_keys_have_defaults_and_are_read_as_numbers_are() -> None:
    angle = terms(weight=0.1, margin="1e-1").loss.terms["angle"]
    assert (angle.name, angle.weight) == ("angle", 0.1)
    assert angle.own_keys == {"margin": 0.1, "degrees": 10, "way": "in"}
    assert registry.class_of("loss term", angle.name)(**angle.own_keys).degrees == 10


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"margin": "wide"}, "loss.terms.angle.margin: input should be a valid number"),
        ({"degrees": 91}, "loss.terms.angle.degrees: input should be less than or equal to 90"),
        ({"way": "up"}, "loss.terms.angle.way: input should be 'in' or 'out', got 'up'"),
        ({"margn": 1}, "unknown key 'loss.terms.angle.margn'; did you mean 'margin'? (valid: deg"),
        ({"weight": -1}, "loss.terms.angle.weight: input should be greater than or equal to 0"),
        ({"_note": "x"}, "unknown key 'loss.terms.angle._note'"),
    ],
)
def test_a_wrong_key_is_named_as_a_built_in_one_is(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        terms(**keys)
    assert told in str(caught.value)


def test_a_key_without_a_default_must_be_given() -> None:
    assert parse_config({"loss": {"name": "hard", "beta": 2}}).loss.own_keys == {"beta": 2.0}
    with pytest.raises(InputError, match=r"loss\.beta: field required"):
        parse_config({"loss": "hard"})


def test_keys_of_a_part_are_no_keys_of_another() -> None:
    with pytest.raises(InputError, match=r"unknown key 'loss\.beta'"):
        parse_config({"loss": {"name": "infonce", "beta": 2}})


def test_keys_enter_the_identity_and_come_back_from_storage() -> None:
    one, other = terms(margin=0.1), terms(margin=0.2)
    assert identity_of(one) != identity_of(other)
    assert identity_of(other) == identity_of(terms())
    assert parse_stored(one.model_dump(mode="json"), "here") == one
    assert "terms" not in identity_of(RunConfig())["loss"]


def test_a_term_may_stand_twice_and_be_taken_away() -> None:
    values = {"loss": {"terms": {"angle": {}, "wide": {"name": "angle", "margin": 1}}}}
    assert list(parse_config(values).loss.terms) == ["angle", "wide"]
    values["loss"]["terms"]["angle"] = None
    assert list(parse_config(values).loss.terms) == ["wide"]


def test_a_class_without_a_kind_and_a_name_that_is_taken_are_refused() -> None:
    with pytest.raises(ValueError, match="Plain is of no kind of part"):

        @register("plain")
        class Plain:
            pass

    for name in ("hard", "infonce"):
        with pytest.raises(ValueError, match=f"already the base loss '{name}'"):
            register(name)(Base)


def test_a_key_that_the_section_has_itself_is_refused() -> None:
    @register("tepid")
    class Tepid(Base):
        temperature: float = 1.0

    with pytest.raises(InputError, match="calls a key of its own 'temperature'"):
        parse_config({"loss": "tepid"})

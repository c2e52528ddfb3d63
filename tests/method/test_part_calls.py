"""What is agreed between us and a part: keys, seeds of its own, and one line for a mistake."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from supclap import registry
from supclap.errors import InputError
from supclap.parts import LossTerm, Pairs, PartError, Place, register
from supclap.parts.calling import calling, wrong
from supclap.parts.making import make_part

HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("angle")(Angle)
        yield


class Angle(LossTerm):
    margin: float = 0.2
    way: str

    def setup(self, place: Place) -> None:
        self.direction = torch.nn.Parameter(torch.randn(place.dim))

    def forward(self, pairs: Pairs) -> torch.Tensor:
        if self.way == "asks":
            raise InputError("way: asks is none")
        return helper(pairs)


def helper(pairs: Pairs) -> torch.Tensor:
    return pairs.similarities @ torch.zeros(3, 3)


def made(seed: int = 0, label: str = "", **keys: object) -> Angle:
    part = make_part("loss term", "angle", {"way": "in", **keys}, Place(4, 8), seed, label)
    assert isinstance(part, Angle)
    return part


def test_initial_values_depend_on_seed_and_label_alone() -> None:
    before = torch.get_rng_state()
    values = [made(seed, label).direction for seed in (0, 1) for label in ("", "other")]
    torch.rand(3)
    again = [made(seed, label).direction for seed in (0, 1) for label in ("", "other")]
    torch.set_rng_state(before)
    assert all(torch.equal(one, other) for one, other in zip(values, again, strict=True))
    assert len({tuple(value.tolist()) for value in values}) == 4


def line(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return 1 + next(i for i, line in enumerate(lines) if text in line)


def test_an_exception_is_one_line_with_the_last_line_of_the_parts_own_file() -> None:
    pairs = Pairs(*torch.eye(4).expand(2, 4, 4))
    part = made(label="wide")
    with pytest.raises(PartError) as caught, calling(part, "forward"):
        part(pairs)
    at = line("pairs.similarities @ torch")
    assert str(caught.value).startswith(f"tests/method/{HERE}:{at}: loss term 'wide': RuntimeError")
    part.way = "asks"
    way = pytest.raises(PartError, match=r"loss term 'wide': way: asks is none")
    with way, calling(part, "forward"):
        part(pairs)
    with pytest.raises(MemoryError), calling(part, "forward"):
        raise MemoryError


def test_what_a_method_gives_is_reported_where_it_is_defined() -> None:
    at = line("def forward(self, pairs: Pairs)")
    fault = wrong(made(), "forward", "gave a list")
    assert str(fault) == f"tests/method/{HERE}:{at}: loss term 'angle': forward gave a list"


def test_keys_that_there_are_not_and_that_are_missing() -> None:
    at = line("class Angle")
    place = f"tests/method/{HERE}:{at}: loss term 'angle': TypeError: "
    with pytest.raises(PartError) as caught:
        made(margn=1)
    assert str(caught.value) == f"{place}Angle has no key 'margn' (its keys: margin, way)"
    with pytest.raises(TypeError, match="Angle needs the key 'way'"):
        Angle(weight=0.5)


def test_random_numbers_of_a_view_are_its_own_and_products_are_shared() -> None:
    pairs = Pairs(*torch.eye(4).expand(2, 4, 4))
    one, same, other = pairs.with_seed(1), pairs.with_seed(1), pairs.with_seed(2)
    drawn = [torch.rand(3, generator=view.generator) for view in (one, same, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert one.similarities is other.similarities


def test_negatives_are_the_pairs_of_other_clips() -> None:
    audio = torch.eye(4)
    assert torch.equal(Pairs(audio, audio).negatives, ~torch.eye(4, dtype=torch.bool))
    clips = torch.tensor([5, 5, 6, 7])
    rows = Pairs(audio, audio, clips, rows=slice(1, 3))
    assert rows.negatives.tolist() == [[False, False, True, True], [True, True, False, True]]
    assert Pairs(audio, audio, rows=slice(1, 3)).negatives.tolist() == [
        [True, False, True, True],
        [True, True, False, True],
    ]

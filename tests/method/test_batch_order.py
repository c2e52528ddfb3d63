"""Batch orders of one's own: what they see, what they may do, and what is refused."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field
from tiny_run import everything, make_collection, tiny_config

from supclap import registry
from supclap.batches import Batches
from supclap.data.clips import Caption
from supclap.errors import InputError
from supclap.events import Started
from supclap.parts import BatchOrder, TrainingPairs, register
from supclap.storage import Folder
from supclap.train_command import Show
from supclap.training import fit

LENGTHS = [3, 1, 2, 5, 4, 1, 2, 3]  # words


def captions() -> list[tuple[Caption, ...]]:
    """Eight clips with an English caption of so many words, and a German one."""
    said = [f"{clip}{' a' * (n - 1)}" for clip, n in enumerate(LENGTHS)]
    return [(Caption(text), Caption(f"{text} b", "deu")) for text in said]


def words(pairs: TrainingPairs) -> list[int]:
    return [len(said[0].text.split()) for said in pairs.captions]


class ShortFirst(BatchOrder):
    def order(
        self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
    ) -> Sequence[int] | np.ndarray:
        return np.argsort(words(pairs), kind="stable")


class Growing(BatchOrder):
    """The shortest share of the pairs at first, then ever more of them."""

    repeats = True
    share: Annotated[float, Field(gt=0, le=1)] = 0.5

    def order(
        self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
    ) -> Sequence[int] | np.ndarray:
        grown = self.share + (1 - self.share) * epoch / max(1, pairs.epochs - 1)
        short = np.argsort(words(pairs), kind="stable")[: round(grown * len(pairs))]
        return np.resize(generator.permutation(short), len(pairs))


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("short-first")(ShortFirst)
        register("growing")(Growing)
        yield


def rows(batches: Batches, epoch: int = 0, start: int = 0) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches.epoch(epoch, start)]


def test_an_order_is_cut_into_batches_as_it_stands() -> None:
    made = Batches(captions(), ["eng"], 3, seed=0, order=ShortFirst())
    assert rows(made) == rows(made, 1) == [[1, 5, 2], [6, 0, 7]]
    assert (made.steps_per_epoch, made.dropped, made.repeated) == (2, 2, 0)
    assert [batch.step for batch in made.epoch(1)] == [2, 3]
    assert rows(made, 1, start=1) == [[6, 0, 7]]


def test_the_built_in_permutation_could_be_one() -> None:
    class Any(BatchOrder):
        def order(
            self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
        ) -> np.ndarray:
            return generator.permutation(len(pairs))

    own = Batches(captions(), ["eng"], 3, seed=5, order=Any())
    built_in = Batches(captions(), ["eng"], 3, seed=5)
    assert [rows(own, epoch) for epoch in range(3)] == [rows(built_in, e) for e in range(3)]


class Noting(BatchOrder):
    seen: Any = None  # what it was given

    def order(
        self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator
    ) -> Sequence[int]:
        self.seen = pairs
        return range(len(pairs))


def seen(**options: Any) -> TrainingPairs:
    clips = captions()
    clips[2] = ()  # left out
    order = Noting()
    made = Batches(
        clips,
        options.pop("languages", ["eng"]),
        2,
        seed=3,
        order=order,
        labels=[(f"label {n}",) for n in range(8)],
        seconds=np.arange(8) / 2,
        epochs=4,
        **options,
    )
    pairs: TrainingPairs = order.seen
    batch = next(made.epoch(0))  # of the pairs 0 and 1
    for pair, (row, giver, chosen) in enumerate(
        zip(batch.rows, batch.givers, batch.captions, strict=True)
    ):
        assert {clips[giver][c] for c in np.ravel(chosen)} <= set(pairs.captions[pair])
        assert pairs.labels[pair] == (f"label {row}",)
        assert pairs.seconds[pair] == row / 2
    return pairs


def test_an_order_sees_each_pairs_captions_labels_clip_and_length() -> None:
    pairs = seen(limit=5)
    usable = [0, 1, 3, 4, 5]
    assert pairs.captions == [(captions()[row][0],) for row in usable]
    assert pairs.labels == [(f"label {row}",) for row in usable]
    assert pairs.clips.tolist() == [0, 1, 2, 3, 4]
    assert pairs.seconds.tolist() == [0.0, 0.5, 1.5, 2.0, 2.5]
    assert (len(pairs), pairs.batch_size, pairs.epochs) == (5, 2, 4)


def test_with_all_pairs_each_has_its_own_caption() -> None:
    pairs = seen(pairs="all", languages=["eng", "deu"], limit=2)
    assert pairs.clips.tolist() == [0, 0, 1, 1]
    assert pairs.captions == [(caption,) for row in (0, 1) for caption in captions()[row]]


def test_with_several_languages_a_pair_has_all_captions_that_it_may_be_trained_with() -> None:
    for multilingual in (None, "kcl", "cacl"):
        pairs = seen(languages=["deu", "eng"], multilingual=multilingual)
        assert pairs.captions[0] == captions()[0]


def test_with_noise_the_captions_are_those_that_are_trained_on() -> None:
    pairs = seen(noise=0.5)
    usable = [0, 1, 3, 4, 5, 6, 7]
    own = [(captions()[row][0],) for row in usable]
    assert sum(one != other for one, other in zip(pairs.captions, own, strict=True)) == 4
    assert sorted(map(str, pairs.captions)) == sorted(map(str, own))


def test_what_is_left_out_and_repeated_is_counted() -> None:
    made = Batches(captions(), ["eng"], 4, seed=0, order=Growing(share=0.25), epochs=3)
    first, last = np.concatenate(rows(made, 0)), np.concatenate(rows(made, 2))
    assert sorted(first.tolist()) == [1] * 4 + [5] * 4  # the two of one word
    assert sorted(last.tolist()) == list(range(8))
    assert (made.steps_per_epoch, made.dropped, made.repeated) == (2, 6, 6)
    other = Batches(captions(), ["eng"], 4, seed=1, order=Growing(share=0.25), epochs=3)
    assert rows(made, 1) != rows(other, 1)


def order_of(answer: Any, repeats: bool = False) -> BatchOrder:
    class Given(BatchOrder):
        def order(self, pairs: TrainingPairs, epoch: int, generator: np.random.Generator) -> Any:
            return answer(epoch)

    Given.repeats = repeats
    return Given()


@pytest.mark.parametrize(
    ("answer", "repeats", "shown"),
    [
        (lambda _: [0, 1, 2], False, "5 of 8 pairs are left out and 0 stand more than once"),
        (lambda _: [0] * 8, False, "7 of 8 pairs are left out and 1 stand more than once"),
        (lambda _: [0], True, "1 pairs do not fill a batch of 2"),
        (lambda _: [], True, "expected (n,) whole numbers, found float64 of shape (0,)"),
        (lambda _: [0.0, 1.0], True, "whole numbers, found float64"),
        (lambda _: None, True, "whole numbers, found object of shape ()"),
        (lambda _: np.eye(8, dtype=int), True, "found int64 of shape (8, 8)"),
        (lambda _: [True, False], True, "found bool"),
        (lambda _: [0, 8], True, "expected pairs from 0 to 7, found 8 at 1"),
        (lambda _: [-1, 0], True, "expected pairs from 0 to 7, found -1 at 0"),
        (lambda e: range(8 - 4 * e), True, "epoch 2: fills 2 batches, and the first epoch 4"),
        (lambda _: [][1], True, "IndexError: list index out of range"),
    ],
)
def test_a_wrong_order_is_refused_before_training(answer: Any, repeats: bool, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        Batches(captions(), ["eng"], 2, seed=0, order=order_of(answer, repeats), epochs=2)
    assert shown in str(caught.value)
    assert "test_batch_order.py" in str(caught.value)


def test_an_order_with_a_state_is_refused() -> None:
    calls = iter(range(9))
    order = order_of(lambda _: np.roll(np.arange(8), next(calls)))
    with pytest.raises(InputError, match="another order when it is asked for again"):
        Batches(captions(), ["eng"], 2, seed=0, order=order)


def test_hard_negatives_beside_an_order_are_refused() -> None:
    with pytest.raises(InputError, match="'hard_negatives' are an order of their own"):
        tiny_config(Path("x"), data__order="short-first", data__hard_negatives=2)


@pytest.mark.heavy
def test_a_run_with_an_order_shows_what_it_leaves_out_and_resumes_to_the_same_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_collection(tmp_path / "data", clips=24)
    order = {"name": "growing", "share": 0.5}
    config = tiny_config(data, checkpoint_steps=1, data__order=order)
    started, *_ = list(fit(config, Folder.at(tmp_path / "whole")))
    assert isinstance(started, Started)
    assert (started.steps_per_epoch, started.dropped, started.repeated) == (3, 12, 12)
    write, left = Folder.write, [4]

    def killed(self: Folder, name: str, content: bytes) -> None:
        write(self, name, content)
        left[0] -= name == "latest.json"
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            list(fit(config, Folder.at(tmp_path / "run")))
    list(fit(config, Folder.at(tmp_path / "run")))
    assert everything(Folder.at(tmp_path / "run")) == everything(Folder.at(tmp_path / "whole"))
    show = Show(Folder.at(tmp_path / "whole"))
    show(started)
    assert "first epoch leaves out 12 pairs and takes 12 again" in capsys.readouterr().out

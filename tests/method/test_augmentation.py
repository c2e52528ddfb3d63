"""Augmentations: what depends on what, what a clip becomes, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import everything, make_collection, tiny_config
from torch import Tensor

from supclap import registry
from supclap.augmenting import augmenter_of
from supclap.batches import batches_of
from supclap.config import RunConfig
from supclap.data.clips import SAMPLE_RATE, Clips, Collection
from supclap.data.reading import read_batch
from supclap.divergence import TrainingError
from supclap.errors import InputError
from supclap.events import EpochEnded
from supclap.feasibility import check_run
from supclap.inputs import Inputs
from supclap.model.clap import CLAP, build_model
from supclap.parts import Augmentation, Example, register
from supclap.storage import Folder
from supclap.training import fit

SEED = 5
Fed = tuple[int, Tensor, str]
given: list[Any] = []  # what the parts below were given


class Noise(Augmentation):
    level: float = 0.1

    def waveform(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        given.append(waveform.copy())
        waveform += generator.normal(0, self.level, waveform.shape)  # may write to what it is given
        return waveform


class Mask(Augmentation):
    """One band of every log-mel is silenced."""

    def features(self, features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        features[generator.integers(len(features))] = -10
        return features


class Shuffle(Augmentation):
    def caption(self, text: str, language: str, generator: np.random.Generator) -> str:
        return f"{' '.join(generator.permutation(text.split()))} {language}"


class Mixup(Augmentation):
    def mix(self, own: Example, other: Example, generator: np.random.Generator) -> Example:
        given.append((own, other))
        joined = zip(own.captions, other.captions, strict=True)
        return replace(
            own,
            waveform=(own.waveform + other.waveform) / 2,
            captions=tuple(f"{a} and {b}" for a, b in joined),
        )


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    given.clear()
    with registry.forgotten():
        for name, part in {
            "noise": Noise,
            "mask": Mask,
            "shuffle": Shuffle,
            "mixup": Mixup,
        }.items():
            register(name)(part)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("data"), captions=2)


class Feed:
    """What a run's batches become on their way to the model."""

    def __init__(self, data: Path, augment: dict[str, Any], /, **changes: Any) -> None:
        changes = {"data__augment": augment, "seed": SEED} | changes
        self.config: RunConfig = tiny_config(data, **changes)
        self.train: Clips = Collection(data).split("train")
        self.batches = batches_of(self.config, self.train)
        seconds = self.config.data.seconds
        assert seconds is not None
        words = [c.text for said in self.train.captions for c in said]
        self.model: CLAP = build_model(self.config.model, words, seconds, 0)
        augmenter = augmenter_of(self.config, self.train, self.batches)
        languages = self.config.data.languages
        self.inputs = Inputs("train", self.train, self.model, languages, SEED, augmenter)

    def __call__(self, epoch: int = 0, start: int = 0, size: int = 1) -> list[Fed]:
        """Row, features and tokens (as text) of every pair, in the order of the batches."""
        found = []
        for batch in self.batches.epoch(epoch, start):
            for rank in range(size):
                ((_, (audio, text)),) = self.inputs.feed([batch], rank, size)
                assert not isinstance(text, Tensor)
                said = [str(i[m].tolist()) for i, m in zip(text.ids, text.mask, strict=True)]
                each = len(said) // len(audio)
                by_clip = ["|".join(said[i : i + each]) for i in range(0, len(said), each)]
                found += list(zip(audio, by_clip, strict=True))
        rows = [r for b in self.batches.epoch(epoch, start) for r in b.rows.tolist()]
        return [(row, *one) for row, one in zip(rows, found, strict=True)]

    def clip(self, row: int) -> np.ndarray:
        """A clip's own waveform."""
        samples = round(self.config.data.seconds * SAMPLE_RATE)
        heard: np.ndarray = read_batch(self.train, [row], samples)[0].numpy()
        return heard

    def spell(self, text: str, language: str = "eng") -> str:
        return str(self.model.text.tokenize([text], language).ids[0].tolist())


def same(one: list[Fed], other: list[Fed]) -> bool:
    """To the bit, whatever their order."""
    first, second = (sorted(found, key=lambda f: (f[0], f[2])) for found in (one, other))
    return len(first) == len(second) and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2]
        for a, b in zip(first, second, strict=True)
    )


ALL = {"noise": {}, "mixup": {}, "shuffle": {}, "mask": {}}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("augment", "changes"),
    [
        (ALL, {}),
        (ALL, {"data__seconds": 0.3}),  # crops
        ({"mask": {}}, {}),
        ({"mask": {}}, {"data__seconds": 0.3}),
        (ALL, {"data": {"languages": ["eng", "deu"]}, "loss__multilingual": "kcl"}),
        (ALL, {"data": {"pairs": "all", "noise": 0.3, "limit": 20}}),
    ],
    ids=["all", "crops", "features", "features of crops", "kcl", "every caption"],
)
def test_a_clips_change_depends_on_seed_epoch_and_clip_alone(
    data: Path, augment: dict[str, Any], changes: dict[str, Any]
) -> None:
    feed = Feed(data, augment, **changes)
    once = feed(1)
    assert same(feed(1), once)  # asked again
    assert same(feed(1, size=3), once)  # shared by workers
    assert same(feed(1, start=1), once[8:])  # resumed
    assert same(Feed(data, augment, **changes, batch_size=4)(1), once)
    assert not same(feed(2), once)


def test_another_augmentation_changes_nothing_that_one_draws(data: Path) -> None:
    alone = {row: features for row, features, _ in Feed(data, {"noise": {}})()}
    beside = {row: features for row, features, _ in Feed(data, {"shuffle": {}, "noise": {}})()}
    assert all(torch.equal(alone[row], beside[row]) for row in alone)
    twice = Feed(data, {"noise": {}, "again": {"name": "noise"}})()
    assert not any(torch.equal(alone[row], features) for row, features, _ in twice)


def test_the_model_hears_the_features_of_what_a_waveform_became(data: Path) -> None:
    feed = Feed(data, {"noise": {"level": 0.0}})
    for row, features, _ in feed():
        own = torch.from_numpy(feed.clip(row))
        assert torch.equal(features, feed.model.audio.features(own[None])[0])
    assert len(given) == 24
    assert not feed.inputs._known.any()  # nothing was kept


def test_features_that_are_kept_stay_as_they_are(data: Path) -> None:
    feed = Feed(data, {"mask": {}})
    before = feed.inputs.audio(np.arange(24)).clone()
    for row, features, _ in feed():
        changed = (features != before[row]).any(1).nonzero().flatten().tolist()
        assert len(changed) == 1
        assert (features[changed[0]] == -10).all()
    assert torch.equal(feed.inputs.audio(np.arange(24)), before)


@pytest.mark.heavy
def test_a_caption_is_tokenized_as_it_has_become(data: Path) -> None:
    feed = Feed(data, {"shuffle": {}})
    plain = {row: text for row, _, text in Feed(data, {"mask": {}})()}
    for row, _, text in feed():
        said = {c.text for c in feed.train.captions[row] if c.language == "eng"}
        assert text != plain[row]
        orders = {feed.spell(f"{' '.join(p)} eng") for s in said for p in permutations(s.split())}
        assert text in orders


def permutations(words: list[str]) -> Iterator[tuple[str, ...]]:
    from itertools import permutations as every

    return every(words) if len(words) < 7 else iter(())


def test_mixing_takes_another_training_clip_with_one_of_the_captions_it_bears(data: Path) -> None:
    feed = Feed(data, {"mixup": {}}, data__limit=9, data__noise=0.5)
    giver_of = dict(zip(feed.batches.clip_rows, feed.batches.clip_givers, strict=True))
    sounds = {row: feed.clip(row) for row in range(24)}
    partners = []
    for epoch in range(6):
        given.clear()
        for (row, features, text), (own, other) in zip(feed(epoch), given, strict=True):
            assert np.array_equal(own.waveform, sounds[row])
            (partner,) = [r for r, s in sounds.items() if np.array_equal(s, other.waveform)]
            assert partner in set(range(9)) - {row}
            assert other.captions[0] in {c.text for c in feed.train.captions[giver_of[partner]]}
            assert other.languages == own.languages == ("eng",)
            mixed = torch.from_numpy((sounds[row] + sounds[partner]) / 2)
            assert torch.equal(features, feed.model.audio.features(mixed[None])[0])
            assert text == feed.spell(f"{own.captions[0]} and {other.captions[0]}")
            partners.append((row, partner))
    assert len(set(partners)) > 30  # of 72 that there could be, in 48 draws


def test_with_several_captions_of_a_clip_the_partner_has_one_in_each_language(data: Path) -> None:
    feed = Feed(data, {"mixup": {}}, data={"languages": ["eng", "deu"]}, loss__multilingual="cacl")
    feed()
    assert len(given) == 24
    for own, other in given:
        assert own.languages == other.languages == ("eng", "deu")
        assert "tone" in other.captions[0]
        assert "Ton" in other.captions[1]
        again = [caption.count("again") for caption in other.captions]
        assert again[0] == again[1]  # translations of each other


def returning(method: str, value: Any) -> type[Augmentation]:
    return type("Given", (Augmentation,), {method: eval(f"lambda self, *given: {value}")})


@pytest.mark.parametrize(
    ("method", "value", "shown"),
    [
        ("waveform", "given[0][:-1]", "expected numbers of shape (8000,), found float32 of shape"),
        ("waveform", "None", "found object of shape ()"),
        ("waveform", "given[0] > 0", "found bool"),
        ("features", "given[0].T", "features expected numbers of shape (64,"),
        ("caption", "' '", "caption expected a text that is not empty, found ' '"),
        ("caption", "1", "found 1"),
        ("caption", "'\\ud800'", "caption expected a text that is not empty, found '"),
        ("mix", "replace(given[0], captions='x')", "expected a tuple of captions, found a text"),
        ("mix", "replace(given[0], captions=())", "expected 1 captions, found 0"),
        ("mix", "given[0].waveform", "mix expected an Example, found ndarray"),
        ("waveform", "1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_mistake_names_the_part(data: Path, method: str, value: str, shown: str) -> None:
    register("given")(returning(method, value))
    with pytest.raises(InputError) as caught:
        Feed(data, {"mine": {"name": "given"}})()
    assert shown in str(caught.value)
    assert "augmentation 'mine'" in str(caught.value)


def test_what_is_given_may_be_a_view_of_what_the_part_keeps(data: Path) -> None:
    register("given")(returning("waveform", "np.broadcast_to(given[0], (2, 8000))[1, ::-1]"))
    feed = Feed(data, {"given": {}})
    for row, features, _ in feed():
        turned = torch.from_numpy(feed.clip(row)[::-1].copy())[None]
        assert torch.equal(features, feed.model.audio.features(turned)[0])


def test_a_number_that_is_not_finite_names_the_part_and_the_clip(data: Path) -> None:
    register("given")(returning("waveform", "given[0] * float('nan')"))
    with pytest.raises(TrainingError, match=r"augmentation 'given': waveform gave .*\(clip \d+ of"):
        Feed(data, {"given": {}})()


@pytest.mark.parametrize(
    ("augment", "side", "shown"),
    [
        ("noise", "audio", "has the method waveform, which cannot work with model.audio.freeze"),
        ("mask", "audio", "has the method features, which cannot work with model.audio.freeze"),
        ("mixup", "audio", "has the method mix, which cannot work with model.audio.freeze"),
        ("mixup", "text", "has the method mix, which cannot work with model.text.freeze"),
        ("shuffle", "text", "has the method caption, which cannot work with model.text.freeze"),
        ("shuffle", "audio", ""),
        ("noise", "text", ""),
    ],
)
def test_what_a_frozen_encoder_has_computed_cannot_be_changed(
    augment: str, side: str, shown: str
) -> None:
    changes: dict[str, Any] = {f"model__{side}__freeze": True}
    config = tiny_config(Path("x"), data__augment={augment: {}}, **changes)
    if not shown:
        check_run(config)
        return
    with pytest.raises(InputError) as caught:
        check_run(config)
    assert f"data.augment.{augment}: {shown}" in str(caught.value)


def test_an_augmentation_that_changes_nothing_is_refused() -> None:
    register("idle")(type("Idle", (Augmentation,), {}))
    with pytest.raises(InputError, match=r"data\.augment\.idle: has none of the methods waveform"):
        check_run(tiny_config(Path("x"), data__augment={"idle": {}}))


@pytest.mark.heavy
def test_only_training_is_augmented_and_a_stopped_run_ends_as_an_undisturbed_one(
    data: Path, tmp_path: Path
) -> None:
    config = tiny_config(data, data__augment=ALL, checkpoint_steps=1, chunk=3)
    *_, last, _ = list(fit(config, Folder.at(tmp_path / "whole")))
    assert isinstance(last, EpochEnded)
    assert last.system["augmenting_seconds"] > 0
    train = {Feed(data, ALL).clip(row).tobytes() for row in range(24)}
    heard = [one for one in given if isinstance(one, np.ndarray)]
    assert len(heard) == 2 * 24  # each training clip once an epoch
    assert {one.tobytes() for one in heard} == train
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

"""Descriptions of scenes, and how the splits' descriptions are drawn.

A description says everything that a caption says: the kinds, their order, their attributes. An
attribute that it does not mention has its middle value in the sound, so "a dog barks" is neither
loud nor quiet. Within a measured split no description is a less detailed version of another one
("a dog barks" beside "a dog barks loudly"): every caption then fits one clip only.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, combinations, product

import numpy as np

from supclap.bounds import CAPTIONS, SPLITS, split_sizes
from supclap.data.soundscenes.kinds import ATTRIBUTES, Kind
from supclap.errors import InputError

ARRANGEMENTS = ("single", "then", "together")
# Shares of the scenes; single events are few, because few distinct ones exist.
_ARRANGEMENT_SHARES = (0.06, 0.55, 0.39)
_ATTRIBUTE_COUNT_SHARES = (0.25, 0.5, 0.25)  # none, one or two attributes for one event
_PATIENCE = 2000  # draws in a row without a new description: there are none left


@dataclass(frozen=True, order=True)
class Event:
    """One event of a scene. ``attributes``: words such as "high", in the order of `ATTRIBUTES`."""

    kind: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((*self.attributes, self.kind))


@dataclass(frozen=True, order=True)
class Scene:
    """A description: one event, or two of different kinds; "together" keeps them sorted."""

    arrangement: str
    events: tuple[Event, ...]

    def __str__(self) -> str:
        return f"{self.arrangement}: {', '.join(str(event) for event in self.events)}"


@dataclass(frozen=True)
class PlannedClip:
    """What one clip is made from; with the seed it determines the clip to the bit."""

    split: str
    index: int
    scene: Scene
    captions: int  # per language


@dataclass(frozen=True)
class Space:
    """All descriptions that a set of kinds allows."""

    kinds: Mapping[str, Kind]

    @cached_property
    def variants(self) -> dict[str, tuple[tuple[Event, ...], ...]]:
        """For every kind its events with no, one and two attributes."""
        return {name: _variants(kind) for name, kind in self.kinds.items()}

    def size(self) -> int:
        """How many distinct descriptions there are."""
        counts = [sum(len(events) for events in groups) for groups in self.variants.values()]
        ordered_pairs = sum(counts) ** 2 - sum(count**2 for count in counts)
        return sum(counts) + ordered_pairs + ordered_pairs // 2

    def draw(self, rng: np.random.Generator) -> Scene:
        """One description; kinds evenly, arrangements and numbers of attributes by their shares."""
        names = self._names
        arrangement = ARRANGEMENTS[_pick(_ARRANGEMENT_SHARES, rng)] if len(names) > 1 else "single"
        first = int(rng.integers(len(names)))
        chosen = [first]
        if arrangement != "single":
            chosen.append((first + 1 + int(rng.integers(len(names) - 1))) % len(names))
        events = tuple(self._event(names[which], rng) for which in chosen)
        return Scene(arrangement, tuple(sorted(events)) if arrangement == "together" else events)

    @cached_property
    def _names(self) -> list[str]:
        return list(self.kinds)

    def _event(self, name: str, rng: np.random.Generator) -> Event:
        groups = self.variants[name]
        group = groups[_pick(_ATTRIBUTE_COUNT_SHARES[: len(groups)], rng)]
        return group[rng.integers(len(group))]


def _pick(shares: Sequence[float], rng: np.random.Generator) -> int:
    """A place, by its share of the sum (`Generator.choice` does the same in ten times the time)."""
    return bisect(list(accumulate(shares)), rng.random() * sum(shares))


def _variants(kind: Kind) -> tuple[tuple[Event, ...], ...]:
    groups = []
    for count in range(3):
        events: list[Event] = []
        for names in combinations(kind.attributes, count):
            if set(names) == {"level", "distance"}:
                continue  # far away and loud cannot be heard apart from nearer and quieter
            events += [
                Event(kind.name, words) for words in product(*(ATTRIBUTES[name] for name in names))
            ]
        if events:
            groups.append(tuple(events))
    return tuple(groups)


def less_detailed(scene: Scene) -> set[Scene]:
    """Every description that leaves out some of the scene's attributes, itself included."""
    choices = [
        [
            Event(event.kind, words)
            for count in range(len(event.attributes) + 1)
            for words in combinations(event.attributes, count)
        ]
        for event in scene.events
    ]
    return {Scene(scene.arrangement, events) for events in product(*choices)}


def plan(
    clips: int, seed: int, kinds: Mapping[str, Mapping[str, Kind]]
) -> dict[str, list[PlannedClip]]:
    """What every clip of every split is made from.

    The measured splits are drawn first, so more training clips leave them as they are, and fewer
    training clips are the first ones of more. ``shifted`` holds the descriptions of ``test``.

    Args:
        clips: training clips.
        kinds: for each of train, val and test the kinds that can be had there.

    Raises:
        InputError: the kinds do not allow enough distinct descriptions.
    """
    sizes = split_sizes(clips)
    test = _draw_measured("test", sizes["test"], seed, kinds["test"], set())
    val = _draw_measured("val", sizes["val"], seed, kinds["val"], set(test))
    held_out = {*test, *val}
    train = _draw_training("train", sizes["train"], seed, kinds["train"], held_out, set())
    pretrain = _draw_training(
        "pretrain", sizes["pretrain"], seed, kinds["train"], held_out, {*train}
    )
    events = [
        Scene("single", (Event(name),)) for name in kinds["test"] for _ in range(sizes["events"])
    ]
    drawn = {
        "pretrain": pretrain,
        "train": train,
        "val": val,
        "test": test,
        "shifted": test,
        "events": events,
    }
    return {
        split: [PlannedClip(split, i, scene, CAPTIONS[split]) for i, scene in enumerate(scenes)]
        for split, scenes in drawn.items()
    }


def _rng(seed: int, split: str) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split)])


def _draw_measured(
    split: str, count: int, seed: int, kinds: Mapping[str, Kind], taken: set[Scene]
) -> list[Scene]:
    space, rng = Space(kinds), _rng(seed, split)
    scenes: dict[Scene, None] = {}
    outlines: set[Scene] = set()
    failures = 0
    # Beyond half of all descriptions too few would be left to train on.
    while len(scenes) < count and len(taken) + len(scenes) <= space.size() // 2:
        scene = space.draw(rng)
        outline = less_detailed(scene)
        if scene in taken or scene in outlines or not outline.isdisjoint(scenes):
            failures += 1
            if failures == _PATIENCE:
                break
            continue
        failures = 0
        scenes[scene] = None
        outlines |= outline
    if len(scenes) < count:
        raise InputError(
            f"soundscenes: split '{split}' wants {count} distinct descriptions, but {len(kinds)} "
            f"kinds of events allow {space.size()}, of which {len(scenes)} can be used there; "
            "give a collection with more classes, or set a smaller data.clips"
        )
    return list(scenes)


def _draw_training(
    split: str,
    count: int,
    seed: int,
    kinds: Mapping[str, Kind],
    held_out: set[Scene],
    used: set[Scene],
) -> list[Scene]:
    """Distinct descriptions while there are some; then they come again, in other sounds."""
    space, rng = Space(kinds), _rng(seed, split)
    scenes: list[Scene] = []
    used = set(used)
    failures = 0
    while len(scenes) < count:
        scene = space.draw(rng)
        if scene in held_out or (failures < _PATIENCE and scene in used):
            failures += 1
            continue
        if failures < _PATIENCE:
            failures = 0
        scenes.append(scene)
        used.add(scene)
    return scenes

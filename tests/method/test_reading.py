"""Batches of sound: against slicing by hand, and the thread that works ahead."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from waiting import PATIENCE

from supclap.data.clips import Clip, Clips, Collection, write_split
from supclap.data.reading import RandomCrop, prefetch, read_batch


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    rng = np.random.default_rng(0)
    lengths = [5, 100, 60, 40, 41]
    sounds = (rng.integers(-32768, 32768, size=n).astype(np.int16) for n in lengths)
    made = (Clip(f"c{i}", sound) for i, sound in enumerate(sounds))
    write_split(tmp_path, "x", "train", made)
    return Collection(tmp_path).split("train")


def test_batch_is_the_beginning_of_each_clip_scaled_and_padded(clips: Clips) -> None:
    batch = read_batch(clips, [3, 0, 1], 40)
    assert batch.shape == (3, 40)
    assert batch.dtype == torch.float32
    for line, row in zip(batch, [3, 0, 1], strict=True):
        sound = np.asarray(clips[row].audio)[:40] / 32768.0  # exact: 16 bits fit into a float
        assert line[: len(sound)].tolist() == sound.tolist()
        assert not line[len(sound) :].any()


def test_random_crop_is_a_window_of_the_clip_that_depends_on_seed_epoch_and_clip_alone(
    clips: Clips,
) -> None:
    crop = RandomCrop(seed=1, epoch=3)
    alone = [read_batch(clips, [row], 40, crop)[0] for row in range(5)]
    together = read_batch(clips, [4, 2, 0, 1, 3], 40, crop)
    for line, row in zip(together, [4, 2, 0, 1, 3], strict=True):
        assert torch.equal(line, alone[row])
    whole = clips[1].audio / 32768.0
    windows = [whole[start : start + 40].tolist() for start in range(61)]
    starts = {
        windows.index(read_batch(clips, [1], 40, RandomCrop(1, epoch))[0].tolist())
        for epoch in range(50)
    }
    assert len(starts) > 20
    seeds = [RandomCrop(seed, 0).starts(np.arange(5), np.full(5, 10**6)) for seed in (0, 1)]
    assert not np.array_equal(*seeds)


def test_random_crop_starts_are_uniform_and_reach_both_ends() -> None:
    starts = RandomCrop(0, 0).starts(np.arange(70_000), np.full(70_000, 6))
    counts = np.bincount(starts, minlength=7)
    assert len(counts) == 7
    # 10,000 expected in each; six standard deviations are 555.
    assert np.abs(counts - 10_000).max() < 600
    assert not RandomCrop(0, 0).starts(np.arange(100), np.zeros(100, np.int64)).any()


def test_prefetch_gives_the_same_items_in_order() -> None:
    assert list(prefetch((i * i for i in range(100)), depth=3)) == [i * i for i in range(100)]
    assert list(prefetch([])) == []
    assert list(prefetch([None, None])) == [None, None]


def test_prefetch_works_ahead_no_further_than_its_depth() -> None:
    made = []
    reached = threading.Event()

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            if i == 3:
                reached.set()
            yield i

    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    # One is read, two wait in the queue, one is in the thread's hand.
    assert reached.wait(PATIENCE)
    assert made == [0, 1, 2, 3]
    ahead.close()


def test_prefetch_hands_on_an_exception_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)


def test_prefetch_left_early_leaves_no_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    for _ in prefetch(endless(), depth=1):
        break
    ahead = prefetch(endless(), depth=1)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]

"""The sound of soundscenes: what captions say can be measured, and seeds decide every bit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from supclap.config import DataConfig
from supclap.data.clips import Clips, Collection
from supclap.data.soundscenes import SPLITS, SYNTHETIC, Event, Scene, soundscenes_collection
from supclap.data.soundscenes.build import _synthetic
from supclap.data.soundscenes.compose import Composer
from supclap.data.soundscenes.conditions import CONDITIONS
from supclap.data.soundscenes.scenes import PlannedClip
from supclap.data.soundscenes.synthesis import SYNTHESIZERS, synthesize
from supclap.errors import InputError

RATE = 16_000
DRAWS = 10
TINY = DataConfig(clips=24)


def kinds_with(attribute: str) -> list[str]:
    return [name for name, kind in SYNTHETIC.items() if attribute in kind.attributes]


def sounds(kind: str, word: str, seconds: float = 1.0) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(7)
    for _ in range(DRAWS):
        yield synthesize(Event(kind, (word,)), int(seconds * RATE), rng)


def mixed(kind: str, word: str) -> Iterator[np.ndarray]:
    """Clips of one event as they come out of the mixer, without its start and end known."""
    composer = Composer(3, 2.0, _synthetic)
    scene = Scene("single", (Event(kind, (word,)),))
    for index in range(DRAWS):
        yield composer.clip(PlannedClip("train", index, scene, 0)).audio / 32768


def centroid(sound: np.ndarray, top: float = RATE / 2) -> float:
    """Centre of the power spectrum in Hz, of what lies below ``top``."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    power[frequency > top] = 0
    return (power * frequency).sum() / power.sum()


def beats_per_second(track: np.ndarray, frames_per_second: float) -> float:
    """The rate at which a track repeats, as the strongest line of its spectrum."""
    strength = np.abs(np.fft.rfft(track - track.mean(), 4096))
    rates = np.fft.rfftfreq(4096, 1 / frames_per_second)
    strength[(rates < 0.8) | (rates > 40)] = 0
    return rates[strength.argmax()]


def pulses(sound: np.ndarray) -> int:
    """How often the 10 ms envelope rises through a quarter of its peak after it was under 12 %."""
    frames = np.abs(sound[: len(sound) // 160 * 160]).reshape(-1, 160).max(1)
    frames = frames / frames.max()
    count, armed = 0, True
    for value in frames:
        if armed and value > 0.25:
            count, armed = count + 1, False
        elif value < 0.12:
            armed = True
    return count


def test_every_kind_has_a_synthesizer_and_sounds_differ_from_draw_to_draw() -> None:
    assert set(SYNTHESIZERS) == set(SYNTHETIC)
    rng = np.random.default_rng(0)
    for kind in SYNTHETIC:
        one, other = (synthesize(Event(kind), 9_000, rng) for _ in range(2))
        assert one.shape == other.shape == (9_000,)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert np.abs(one).max() > 0.05
        assert np.abs(one - other).max() > 0.01


@pytest.mark.heavy
@pytest.mark.parametrize("kind", kinds_with("pitch"))
def test_high_is_higher_than_low(kind: str) -> None:
    high = np.median([centroid(sound) for sound in sounds(kind, "high")])
    low = np.median([centroid(sound) for sound in sounds(kind, "low")])
    assert high > 1.1 * low


# Between one pulse and the next of these there is no gap to count.
NEVER_SILENT = ("helicopter", "flute", "guitar", "church_bells", "drum", "crow", "jackhammer")


@pytest.mark.heavy
@pytest.mark.parametrize("kind", kinds_with("pace"))
def test_fast_is_faster_than_slow(kind: str) -> None:
    if kind == "siren":  # its level is steady: the rate is that of its pitch

        def rate(sound: np.ndarray) -> float:
            blocks = sound[: len(sound) // 400 * 400].reshape(-1, 400)
            return beats_per_second(np.array([centroid(block, 2500) for block in blocks]), 40)
    elif kind in NEVER_SILENT:

        def rate(sound: np.ndarray) -> float:
            power = (sound[: len(sound) // 160 * 160] ** 2).reshape(-1, 160).mean(1)
            return beats_per_second(np.sqrt(power), 100)
    else:
        rate = pulses
    fast = np.mean([rate(sound) for sound in sounds(kind, "fast", 4.0)])
    slow = np.mean([rate(sound) for sound in sounds(kind, "slow", 4.0)])
    assert fast > 1.6 * slow


@pytest.mark.heavy
@pytest.mark.parametrize("kind", kinds_with("level"))
def test_loud_is_louder_than_quiet(kind: str) -> None:
    def decibels(word: str) -> float:
        return np.mean([10 * np.log10(np.mean(sound**2)) for sound in mixed(kind, word)])

    assert decibels("loud") > decibels("quiet") + 8


@pytest.mark.heavy
@pytest.mark.parametrize("kind", kinds_with("distance"))
def test_far_is_duller_than_near(kind: str) -> None:
    near = np.median([centroid(sound) for sound in mixed(kind, "near")])
    far = np.median([centroid(sound) for sound in mixed(kind, "far")])
    assert far < near


def test_events_stand_in_the_order_that_is_told() -> None:
    """A low drum and a high cricket: which half of the clip holds the treble?"""
    composer = Composer(0, 2.0, _synthetic)

    def treble_first(*kinds: str) -> bool:
        scene = Scene("then", tuple(Event(kind) for kind in kinds))
        audio = composer.clip(PlannedClip("train", 0, scene, 0)).audio.astype(float)
        first, last = (np.abs(np.fft.rfft(half))[2500:] for half in (audio[:16000], audio[16000:]))
        return (first**2).sum() > (last**2).sum()

    assert treble_first("crickets", "drum")
    assert not treble_first("drum", "crickets")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return soundscenes_collection(TINY, tmp_path_factory.mktemp("cache"), workers=1)


@pytest.mark.heavy
def test_the_collection_is_as_configured(tiny: Collection) -> None:
    assert tiny.splits == SPLITS
    sizes = {split: len(tiny.split(split)) for split in SPLITS}
    assert sizes["train"] == sizes["pretrain"] == sizes["test"] == sizes["shifted"] == 24
    assert sizes["val"] == 12
    assert sizes["events"] == len(SYNTHETIC)
    for split in SPLITS:
        clips = tiny.split(split)
        assert {len(clips.audio(row)) for row in range(len(clips))} == {32_000}
        assert all(200 < np.abs(clips.audio(row)).max() < 32_700 for row in range(len(clips)))
    assert [len(said) for said in tiny.split("train").captions] == [8] * 24
    assert [len(said) for said in tiny.split("test").captions] == [40] * 24
    assert len({label for (label,) in tiny.split("events").labels}) == len(SYNTHETIC)


@pytest.mark.heavy
def test_the_number_of_processes_changes_no_bit(tiny: Collection, tmp_path: Path) -> None:
    assert soundscenes_collection(TINY, tmp_path, workers=3).content_hash() == tiny.content_hash()


@pytest.mark.heavy
def test_seed_and_length_make_other_clips(tiny: Collection, tmp_path: Path) -> None:
    one = DataConfig(clips=4, seed=1)
    other = soundscenes_collection(one, tmp_path).split("train")
    assert other.captions[0] != tiny.split("train").captions[0]
    longer = soundscenes_collection(DataConfig(clips=4, seconds=3.5), tmp_path).split("train")
    assert len(longer.audio(0)) == 56_000
    assert longer.captions == tiny.split("train").captions[:4]
    with pytest.raises(InputError, match=r"data\.seconds: 0\.5 is too short"):
        soundscenes_collection(DataConfig(seconds=0.5), tmp_path)


@pytest.mark.heavy
def test_what_cannot_change_the_clips_does_not_make_them_again(tiny: Collection) -> None:
    same = DataConfig(clips=24, languages=("deu", "zho"), limit=5, val="test")
    cache = tiny.folder.parent
    assert soundscenes_collection(same, cache).folder == tiny.folder
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [tiny.folder.name]


def test_shifted_says_the_same_as_test_under_other_conditions(tiny: Collection) -> None:
    test, shifted = tiny.split("test"), tiny.split("shifted")
    assert shifted.captions == test.captions
    assert [f"{made} ({CONDITIONS[row % 3]})" for row, made in enumerate(test.sources)] == (
        shifted.sources
    )

    def typical(clips: Clips, condition: str, measure: Callable[[np.ndarray], float]) -> float:
        rows = range(CONDITIONS.index(condition), len(clips), 3)
        return np.median([measure(clips.audio(row) / 32768) for row in rows])

    def treble(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return power[10_000:].sum() / power.sum()  # above 5 kHz

    def floor(sound: np.ndarray) -> float:
        return np.sort((sound.reshape(-1, 320) ** 2).mean(1))[:10].mean()

    assert typical(shifted, "band-limited", treble) < 0.3 * typical(test, "band-limited", treble)
    assert typical(shifted, "noisy", floor) > 3 * typical(test, "noisy", floor)
    assert typical(shifted, "reverberant", floor) > 1.2 * typical(test, "reverberant", floor)

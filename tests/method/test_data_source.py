"""Data sources of one's own: what they list is what training opens, and what is refused."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from supclap_platform.experiment.identity import signature
from tiny_run import tiny_config

import supclap.data.shards as shards
from supclap import registry
from supclap.config import RunConfig, parse_config
from supclap.data import look_at, open_data
from supclap.data.clips import Collection
from supclap.data.decode import decode
from supclap.data.prepare import prepare
from supclap.data.prepare_command import prepare_command
from supclap.errors import InputError
from supclap.events import Finished, Started
from supclap.feasibility import check_data
from supclap.parts import DataSource, Item, register
from supclap.storage import Folder
from supclap.timing import sizes_of
from supclap.training import fit

SPLITS = ("train", "train", "val", "test")


def tones(folder: Path, clips: int = 48) -> Path:
    """Files, and an index of them as `supclap prepare captions` reads it."""
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    lines = ["file,caption,language,split,label"]
    for n in range(clips):
        rate = 22_050 if n % 3 else 16_000
        sound = 0.3 * np.sin(np.arange(rate // 4) * 0.1 * (1 + n % 5))
        soundfile.write(folder / f"t{n}.wav", sound + numbers.normal(0, 0.01, len(sound)), rate)
        for language, text in (("eng", f"a tone of kind {n % 5}"), ("deu", f"ein Ton {n % 5}")):
            lines.append(f"t{n}.wav,{text},{language},{SPLITS[n % 4]},kind{n % 5}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


class Tones(DataSource):
    count: int = 48
    way: str = "files"  # or samples, or functions

    def items(self) -> Iterable[Item]:
        assert self.folder is not None
        for n in range(self.count):
            name = f"t{n}.wav"
            said = [f"a tone of kind {n % 5}", (f"ein Ton {n % 5}", "deu")]
            labels = [f"kind{n % 5}"]
            if self.way == "files":
                yield Item(name, said, labels, SPLITS[n % 4])
                continue
            sound, rate = soundfile.read(self.folder / name, dtype="int16")
            given = sound if self.way == "samples" else lambda sound=sound: sound
            yield Item(given, said, labels, SPLITS[n % 4], clip_id=f"t{n}", rate=rate)


@pytest.fixture(autouse=True)
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    with registry.forgotten():
        register("tones")(Tones)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("tones") / "here")


@pytest.fixture(scope="module")
def truth(folder: Path) -> Collection:
    """The same clips by the built-in reader."""
    out = folder.parent / "built-in"
    prepare("captions", folder, out)
    return Collection(out)


def run_of(folder: Path, **changes: Any) -> RunConfig:
    data = {"name": "tones", "folder": str(folder), "seconds": 0.25}
    return tiny_config(Path("x"), data=data, **changes)


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["files", "samples", "functions"])
def test_what_is_listed_becomes_what_the_built_in_reader_makes_of_it(
    way: str, folder: Path, truth: Collection
) -> None:
    config = run_of(folder, data__way=way)
    listed = look_at(config.data)
    assert listed.splits == truth.splits
    assert listed.split("val").captions == truth.split("val").captions
    opened = open_data(config.data)
    assert opened.content_hash() == truth.content_hash()
    assert look_at(config.data).content_hash() == truth.content_hash()  # now it is prepared
    assert opened.split("train").sources[0] == ("t0.wav" if way == "files" else "t0")


def test_it_is_decoded_once_and_again_when_anything_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tones(tmp_path / "own", 8)
    decoded: list[Path] = []

    def noted(path: Path, *more: Any) -> np.ndarray:
        decoded.append(path)
        return decode(path, *more)

    monkeypatch.setattr(shards, "decode", noted)
    data = run_of(own, data__count=8).data
    first = open_data(data).content_hash()
    assert (open_data(data).content_hash(), len(decoded)) == (first, 8)
    sound, rate = soundfile.read(own / "t3.wav")
    soundfile.write(own / "t3.wav", sound / 2, rate)
    second = open_data(data).content_hash()
    assert second != first
    assert len(decoded) == 16
    assert len(open_data(run_of(own, data__count=6).data).split("train")) == 4


def test_a_preparation_that_was_killed_goes_on_where_it_was(
    folder: Path, truth: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def killed(path: Path, *more: Any) -> np.ndarray:
        decoded.append(path)
        if len(decoded) == 30:
            raise KeyboardInterrupt
        return decode(path, *more)

    monkeypatch.setattr(shards, "decode", killed)
    with pytest.raises(KeyboardInterrupt):
        open_data(run_of(folder).data)
    assert open_data(run_of(folder).data).content_hash() == truth.content_hash()
    assert len(decoded) < 30 + 48
    cache = Path(open_data(run_of(folder).data).folder).parent
    assert [path.name for path in cache.iterdir() if path.name.endswith(".work")] == []


def test_a_run_is_named_by_what_is_listed_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    own = tones(tmp_path / "own")
    name = signature(run_of(own))
    assert name == signature(run_of(folder))
    assert name != signature(run_of(folder, data__count=47))
    assert not (tmp_path / "cache").exists()  # nothing was decoded for it
    further = {"also": {"far": {"data": {"name": "tones", "folder": str(own)}}}}
    assert signature(run_of(folder, **further)) != name
    other = tones(tmp_path / "other", 47)
    with open(other / "t3.wav", "ab") as file:
        file.write(b"12345678")
    soundfile.write(other / "t47.wav", np.ones(4000), 16_000)
    assert signature(run_of(other)) != name


def test_a_plan_checks_and_counts_what_is_listed_without_decoding(
    folder: Path, tmp_path: Path
) -> None:
    config = run_of(folder)
    check_data(config)
    sizes = sizes_of(config)
    assert (sizes.train, sizes.watched, sizes.last) == (24, (12, 12), (12, 12))
    with pytest.raises(InputError, match=r"data\.val: .*: no split 'valid'; did you mean 'val'"):
        check_data(run_of(folder, data__val="valid"))
    with pytest.raises(InputError, match="batch_size is 32, but there are only 24 pairs"):
        check_data(run_of(folder, batch_size=32))
    with pytest.raises(InputError, match=r"data source 'tones': .*: there is no such folder"):
        check_data(run_of(tmp_path / "nowhere"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.heavy
def test_a_run_trains_on_it_and_measures_further_test_sets(
    folder: Path, truth: Collection, tmp_path: Path
) -> None:
    far = {"data": {"name": "tones", "folder": str(folder), "count": 24}}
    config = run_of(folder, also={"far": far})
    started, *_, last = list(fit(config, Folder.at(tmp_path / "run")))
    assert isinstance(started, Started)
    assert started.data == truth.content_hash()
    assert isinstance(last, Finished)
    assert "also.far.t2a.R@1" in last.metrics
    built_in = tiny_config(truth.folder, data__seconds=0.25)
    *_, same = list(fit(built_in, Folder.at(tmp_path / "other")))
    assert isinstance(same, Finished)
    assert all(last.metrics[name] == value for name, value in same.metrics.items())


@pytest.mark.heavy
def test_what_is_lost_is_shown_and_too_much_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tones(tmp_path / "own", 96)
    (own / "t3.wav").unlink()
    opened = open_data(run_of(own, data__count=96).data)
    assert len(opened.split("test")) == 23
    shown = capsys.readouterr().err
    assert "data source 'tones': 1 clips and 0 captions are left out" in shown
    kept = Path(shown.split(" in ")[-1].strip()).read_text()
    assert "t3.wav" in kept
    assert "missing" in kept
    for n in range(7, 20, 4):
        (own / f"t{n}.wav").unlink()
    with pytest.raises(InputError) as caught:
        open_data(run_of(own, data__count=96).data)
    assert "split test: 5 of 24 clips are lost (5 missing)" in str(caught.value)
    assert "`supclap prepare tones`" in str(caught.value)


def listing(*items: Any) -> RunConfig:
    class Given(DataSource):
        def items(self) -> Any:
            yield from (item() if callable(item) else item for item in items)

    register("given")(Given)
    return parse_config({"data": {"name": "given"}})


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 800)


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (("a.wav", "a dog"), "expected an Item each, found tuple"),
        (Item("a.wav", "a dog"), "item 1: captions and labels are lists of texts"),
        (Item("a.wav", cast(Any, [1])), "TypeError"),
        (Item("a.wav", ["a dog"], split=3), "item 1: expected a text, found 3"),
        (Item(3), "expected the name of a file, or int16 or float samples"),
        (Item(np.zeros(9, np.int64), clip_id="x"), "found int64 of shape (9,)"),
        (Item(np.zeros((2, 2, 2)), clip_id="x"), "found float64 of shape (2, 2, 2)"),
        (Item(np.zeros((2, 800)), clip_id="x"), "found float64 of shape (2, 800)"),
        (Item(NOISE, clip_id="x", rate=0), "expected a rate of 100 to 1,000,000 Hz, found 0"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_mistake_names_the_source(item: Any, shown: str) -> None:
    config = listing(Item(NOISE, ["a"], clip_id="a"), item)
    with pytest.raises(InputError) as caught:
        open_data(config.data)
    assert shown in str(caught.value)
    assert "data source 'given'" in str(caught.value)


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Item(NOISE, ["b"]), "item 1: a sound that is no file needs a clip_id"),
        (Item(NOISE, [("b", "xyz")], clip_id="b"), "unknown language 'xyz'"),
        (Item(NOISE, ["b"], clip_id="a"), "clip id 'a' stands already in item 0"),
        (Item(NOISE, ["b"], split="a/b", clip_id="b"), "'a/b' is no name of a split"),
        (Item("a\0.wav", ["b"]), "the name of its file holds what no name can"),
        (Item("\ud800.wav", ["b"]), "the name of its file holds what no name can"),
        (Item(NOISE[:0], ["b"], clip_id="b"), "1 of 2 clips are lost (1 unreadable)"),
    ],
)
def test_a_clip_that_cannot_be_used_is_a_broken_row(item: Item, shown: str) -> None:
    config = listing(Item(NOISE, ["a"], clip_id="a"), item)
    with pytest.raises(InputError) as caught:
        open_data(config.data)
    assert shown in str(caught.value)


def test_samples_are_resampled_and_mixed_down_as_files_are(tmp_path: Path) -> None:
    stereo = np.stack([NOISE, NOISE[::-1]], axis=1)
    sounds = {"a": (NOISE, 16_000), "b": (stereo, 44_100), "c": (stereo.astype(np.float32), 8000)}
    config = listing(*(Item(s, [n], clip_id=n, rate=r) for n, (s, r) in sounds.items()))
    train = open_data(config.data).split("train")
    for row, (name, (sound, rate)) in enumerate(sounds.items()):
        soundfile.write(tmp_path / f"{name}.wav", sound, rate, subtype="FLOAT")
        assert np.array_equal(train.audio(row), decode(tmp_path / f"{name}.wav"))


def test_a_source_that_lists_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="data source 'given': lists no clip"):
        open_data(listing().data)


CODE = """
import csv
from supclap.parts import DataSource, Item, register

@register("by-hand")
class ByHand(DataSource):
    part: str = "val"

    def items(self):
        for row in csv.DictReader(open(self.folder / "captions.csv")):
            if row["language"] == "eng":
                yield Item(row["file"], [row["caption"]], [row["label"]], self.part)
"""


def test_the_command_takes_a_source_from_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "by_hand.py").write_text(CODE)
    asked = ["by-hand", "--code", str(tmp_path / "by_hand.py"), "--source", str(folder)]
    asked += ["--out", str(tmp_path / "out"), "--set", "part=test", "--workers", "1"]
    done = CliRunner().invoke(prepare_command, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    made = Collection(tmp_path / "out")
    assert made.splits == ("test",)
    assert len(made.split("test")) == 48
    for wrong, shown in (
        (["by-hand", "--out", "o"], "--source is missing"),
        (
            ["by-hand", "--source", ".", "--out", "o"],
            "one of your own comes from a file",
        ),
        ([*asked, "--set", "prt=val"], "unknown key 'data.prt'; did you mean 'part'?"),
        (["clotho", "--source", ".", "--out", "o", "--set", "a=1"], "--set goes with --code"),
    ):
        with pytest.raises(InputError) as caught:
            CliRunner().invoke(prepare_command, wrong, catch_exceptions=False)
        assert shown in str(caught.value)

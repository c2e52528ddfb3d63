"""The Arrow format: what goes in comes out, whole or not at all, without being loaded."""

import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import supclap.data.clips as module
from supclap.data.clips import Caption, Clip, Collection, write_split
from supclap.errors import InputError


def some(count: int, seed: int = 0, longest: int = 300) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [
        Clip(
            clip_id=f"clip {i}",
            audio=rng.integers(-32768, 32768, size=rng.integers(1, longest)).astype(np.int16),
            captions=tuple(
                Caption(f"Ein Bär, {i}.{j}", ("deu", "zho")[j % 2]) for j in range(i % 4)
            ),
            labels=("dog", "rain")[: i % 3],
            source=f"été {i}.wav",
        )
        for i in range(count)
    ]


def same(one: Clip, other: Clip) -> bool:
    rest = [(c.clip_id, c.captions, c.labels, c.source) for c in (one, other)]
    return rest[0] == rest[1] and np.array_equal(one.audio, other.audio)


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_clips_come_back_as_they_were_written(tmp_path: Path, count: int) -> None:
    made = some(count)
    assert write_split(tmp_path, "x", "train", iter(made)) == count
    clips = Collection(tmp_path).split("train")
    assert len(clips) == count
    assert all(same(a, b) for a, b in zip(clips, made, strict=True))
    order = np.random.default_rng(1).permutation(count)
    assert all(np.array_equal(clips.audio(row), made[row].audio) for row in order)
    assert clips.lengths.tolist() == [len(clip.audio) for clip in made]
    # One behind the other: a pass over the clips reads the file from its beginning to its end.
    places = [clips.audio(row).__array_interface__["data"][0] for row in range(count)]
    assert places == sorted(places)


def test_long_clips_make_smaller_record_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLES_PER_BATCH", 1000)
    made = some(30, longest=900)
    write_split(tmp_path, "x", "train", made)
    with pa.memory_map(str(tmp_path / "train.arrow")) as source:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        assert len(batches) > 5
        assert all(
            len(batch.column("audio").values) <= 1000 or len(batch) == 1 for batch in batches
        )
    clips = Collection(tmp_path).split("train")
    assert all(same(a, b) for a, b in zip(clips, made, strict=True))


def test_samples_are_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    write_split(tmp_path, "x", "train", some(3))
    sound = Collection(tmp_path).split("train").audio(1)
    assert not sound.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        sound[0] = 1


def test_the_content_hash_is_of_the_content(tmp_path: Path) -> None:
    def content(name: str, clips: list[Clip]) -> str:
        write_split(tmp_path / name, "x", "train", clips)
        return Collection(tmp_path / name).content_hash()

    made = some(5)
    first = content("a", made)
    assert content("b", made) == first
    moved = [Clip(c.clip_id, c.audio, c.captions, c.labels, "elsewhere") for c in made]
    assert content("c", moved) == first
    louder = [*made[:4], Clip("clip 4", made[4].audio ^ 1, made[4].captions, made[4].labels)]
    renamed = [*made[:4], Clip("clip 5", made[4].audio, made[4].captions, made[4].labels)]
    unlabelled = [*made[:4], Clip("clip 4", made[4].audio, made[4].captions, ())]
    unsaid = [*made[:3], Clip("clip 3", made[3].audio, made[3].captions[:1], ()), made[4]]
    others = [content(str(i), c) for i, c in enumerate((louder, renamed, unlabelled, unsaid))]
    assert len({first, *others}) == 5


def test_a_write_that_fails_leaves_the_collection_as_it_was(tmp_path: Path) -> None:
    made = some(70)
    write_split(tmp_path, "x", "train", made)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Iterator[Clip]:
        yield from some(68, seed=1)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_split(tmp_path, "x", "train", broken())
    with pytest.raises(InputError, match="'clip 0' stands twice"):
        write_split(tmp_path, "x", "train", [*made, made[0]])
    with pytest.raises(InputError, match=r"clip 'y': expected .samples,. int16 .* shape .0,."):
        write_split(tmp_path, "x", "val", [Clip("y", np.zeros(0, np.int16))])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_split_replaced_halfway_is_not_taken_for_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split(tmp_path, "x", "train", some(3))
    write_split(tmp_path, "x", "val", some(2))

    class Killed(BaseException):
        pass

    enter = module._enter

    def killed(folder: Path, name: str, split: str, entry: dict | None) -> None:
        if entry is not None:
            raise Killed
        enter(folder, name, split, entry)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_enter", killed)
        with pytest.raises(Killed):
            write_split(tmp_path, "x", "train", some(4))
    assert Collection(tmp_path).splits == ("val",)
    write_split(tmp_path, "x", "train", some(4))
    assert Collection(tmp_path).splits == ("train", "val")
    assert len(Collection(tmp_path).split("train")) == 4


def test_a_split_is_opened_once_in_a_process_until_its_file_changes(tmp_path: Path) -> None:
    write_split(tmp_path, "x", "train", some(3))
    opened = Collection(tmp_path).split("train")
    assert Collection(tmp_path).split("train") is opened
    write_split(tmp_path, "x", "train", some(3, seed=1))
    again = Collection(tmp_path).split("train")
    assert again is not opened
    assert same(again[0], some(1, seed=1)[0])
    path = tmp_path / "train.arrow"
    content = bytearray(path.read_bytes())
    content[content.index(again.clip_ids[0].encode())] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="altered"):
        Collection(tmp_path).split("train")


def test_no_more_splits_are_kept_open_than_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPEN_CLIPS", 5)
    monkeypatch.setattr(module, "_open", OrderedDict())
    sizes = {"a": 2, "b": 3, "c": 2, "large": 6}
    for name, size in sizes.items():
        write_split(tmp_path, "x", name, some(size))
    for name in sizes:
        Collection(tmp_path).split(name)
    assert [len(clips) for clips in module._open.values()] == [3, 2]  # the last that fit


def test_what_is_no_collection_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no collection.json.*supclap prepare"):
        Collection(tmp_path)
    write_split(tmp_path, "x", "train", some(2))
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        Collection(tmp_path).split("test")
    (tmp_path / "train.arrow").write_bytes((tmp_path / "train.arrow").read_bytes()[:500])
    with pytest.raises(InputError, match=r"train.arrow: damaged .not a readable Arrow file"):
        Collection(tmp_path).split("train")
    index = tmp_path / "collection.json"
    values = json.loads(index.read_text())
    del values["seal"]
    index.write_text(json.dumps({**values, "format": 99}))
    with pytest.raises(InputError, match="format 99 is not 1"):
        Collection(tmp_path)
    index.write_text("{")
    with pytest.raises(InputError, match=r"collection.json: damaged .not JSON"):
        Collection(tmp_path)


_OPEN_AND_READ = """
import sys
from pathlib import Path
from supclap.data.clips import Collection

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(l.split()[1]) for l in lines if l.startswith("VmRSS")) / 1024

Collection(Path(sys.argv[1])).split("small").audio(0)  # the libraries' own memory
before = resident()
clips = Collection(Path(sys.argv[1])).split("train")
opened = resident()
total = sum(int(clips.audio(row)[:16000].sum()) for row in range(0, len(clips), 16))
print(opened - before, resident() - before, len(clips), total)
"""


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_opening_a_big_collection_loads_none_of_its_sound(tmp_path: Path) -> None:
    """256 MB of sound: opening it, and reading 1 MB of it, take a few MB of memory."""
    loud = np.ones(2**20, np.int16)
    write_split(tmp_path, "big", "small", some(1))
    write_split(tmp_path, "big", "train", (Clip(str(i), loud) for i in range(128)))
    assert (tmp_path / "train.arrow").stat().st_size > 256e6
    command = [sys.executable, "-c", _OPEN_AND_READ, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    opened, read, count, total = (float(word) for word in done.stdout.split())
    assert (count, total) == (128, 8 * 16000)
    assert opened < 8
    assert read < 16


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", '"x"', '{"format": 1}', "[" * 50_000, "1" * 5000),
        '{"format": 1, "name": 3, "splits": {}}',
        '{"format": 1, "name": "x", "splits": []}',
        '{"format": 1, "name": "x", "splits": {"train": 7}}',
        '{"format": 1, "name": "x", "splits": {"train": {"clips": 1}}}',
        '{"format": 2, "name": "x", "splits": {}}',
    ],
)
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "collection.json").write_text(content)
    with pytest.raises(InputError, match=r"collection.json: .* prepare it again$") as fault:
        Collection(tmp_path)
    assert "\n" not in str(fault.value)
    assert len(str(fault.value)) < 500

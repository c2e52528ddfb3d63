"""What a preparation leaves on disk, damaged: found, named, and made again by the same command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from damages import DAMAGES, in_time

from supclap.data import shards
from supclap.data.clips import Collection
from supclap.data.prepare import prepare
from supclap.errors import InputError
from supclap.stored import Damaged

CLIPS = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    lines = ["file,caption,label,split"]
    for number in range(CLIPS):
        sound = np.random.default_rng(number).normal(0, 0.1, 3000 + number)
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
        lines.append(f"{number}.wav,noise number {number},noise,{'test' if number else 'val'}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    prepare("captions", source, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_is_damaged_is_made_again(damage: str, source: Path, tmp_path: Path) -> None:
    """Of a preparation that was killed between decoding and writing."""
    files = [source / f"{number}.wav" for number in range(CLIPS)]
    (part,) = shards.plan(tmp_path, source, "test", files, None)
    assert list(shards.make([part], 1)) == [CLIPS]
    assert part.done
    right = [(sound.audio.copy(), sound.kind, sound.reason) for sound in part.sounds()]
    DAMAGES[damage](part.target)
    with in_time(20):
        if part.done:
            assert damage.startswith("bit")  # of what carries no meaning
        elif damage == "a folder":
            part.target.rmdir()
        if not part.done:
            list(shards.make([part], 1))
    found = [(sound.audio, sound.kind, sound.reason) for sound in part.sounds()]
    for (sound, *words), (expected, *others) in zip(found, right, strict=True):
        np.testing.assert_array_equal(sound, expected)
        assert words == others


def fault_of(out: Path) -> str | None:
    try:
        Collection(out).split("test")
    except Damaged as error:
        return str(error)
    return None


@pytest.mark.parametrize("damage", [*DAMAGES, "removed"])
def test_the_same_command_makes_a_damaged_split_again(
    damage: str, prepared: Path, source: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(prepared, tmp_path / "out")
    DAMAGES.get(damage, Path.unlink)(out / "test.arrow")
    with in_time(20):
        line = fault_of(out)
        if line is None:
            assert damage.startswith("bit")  # a sample's, or of what carries no meaning
            return
        assert line.startswith(f"{out}/test.arrow: damaged (")
        assert line.endswith("; prepare it again")
        assert "\n" not in line
        if damage == "a folder":
            with pytest.raises(InputError, match=r"test\.arrow: cannot be written to: Is a dir"):
                prepare("captions", source, out)
            (out / "test.arrow").rmdir()
        made = prepare("captions", source, out).decoded  # of the failed attempt the parts are kept
        assert made == (0 if damage == "a folder" else CLIPS - 1)
    assert contents(out) == contents(prepared)


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_that_is_damaged_is_made_again_when_it_is_gone(
    damage: str, prepared: Path, source: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(prepared, tmp_path / "out")
    DAMAGES[damage](out / "collection.json")
    with in_time(20), pytest.raises(InputError, match=r"collection\.json") as caught:
        Collection(out)
    assert "\n" not in str(caught.value)
    if (out / "collection.json").is_file() and not (out / "collection.json").is_symlink():
        assert str(caught.value).endswith("; remove collection.json and prepare it again")
        with pytest.raises(InputError, match=r"remove collection\.json and prepare it again"):
            prepare("captions", source, out)
        (out / "collection.json").unlink()
        prepare("captions", source, out)
        assert contents(out) == contents(prepared)


def test_another_collections_split_is_not_taken_for_ones_own(
    prepared: Path, source: Path, tmp_path: Path
) -> None:
    """Of as many clips, with one word changed; and one of an earlier version, without the hash."""
    other = shutil.copytree(source, tmp_path / "source")
    words = (source / "captions.csv").read_text().replace("noise number 2", "noise number 7")
    (other / "captions.csv").write_text(words)
    prepare("captions", other, tmp_path / "other")
    out = shutil.copytree(prepared, tmp_path / "out")
    shutil.copy(tmp_path / "other" / "test.arrow", out / "test.arrow")
    with pytest.raises(Damaged, match="not the clips that its index vouches for"):
        Collection(out).split("test")
    index = json.loads((out / "collection.json").read_text())
    index["splits"]["test"] = {**index["splits"]["val"], "clips": 9}
    del index["splits"]["test"]["words"], index["seal"]
    (out / "collection.json").write_text(json.dumps(index))
    with pytest.raises(Damaged, match=r"test.arrow: damaged \(4 clips, and collection.json says 9"):
        Collection(out).split("test")

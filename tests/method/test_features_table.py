"""Arrays and their table: what is prepared of them, and what of them is refused."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_features import AUDIO, TEXT, arrays_in, make_arrays, make_features

from supclap.config import ArraysConfig
from supclap.data.features import FeatureCollection
from supclap.data.features.table import read_table
from supclap.data.features.writing import write_features
from supclap.data.prepare_command import prepare_command
from supclap.errors import InputError
from supclap.stored import Damaged

REAL = os.environ.get("SUPCLAP_TEST_DATA")


def lines_in(folder: Path) -> list[list[str]]:
    with open(folder / "clips.csv") as file:
        return list(csv.reader(file))


def write(folder: Path, lines: list[list[str]]) -> None:
    with open(folder / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_what_is_prepared_is_what_the_table_says(tmp_path: Path, kind: str) -> None:
    make_arrays(tmp_path, kind=kind)
    audio, text = np.load(tmp_path / "audio.npy"), np.load(tmp_path / "text.npy")
    collection = write_features(read_table(arrays_in(tmp_path)), tmp_path / "out")
    head, *lines = lines_in(tmp_path)
    assert set(collection.splits) == {"train", "val", "test", "unused"}
    for split in collection.splits:
        clips = collection.split(split)
        mine = [dict(zip(head, line, strict=True)) for line in lines if line[1] == split]
        assert clips.clip_ids == [line["row"] for line in mine]
        heard = clips.audio_vectors(np.arange(len(clips))).numpy()
        assert heard.dtype == np.float32
        assert (heard == audio[[int(line["row"]) for line in mine]].astype(np.float32)).all()
        for row, line in enumerate(mine):
            said = [(c, "fra" if c.endswith("fra") else "eng") for c in ("text1", "text2")]
            said += [("text_fra", "fra")] if line["text_fra"] else []
            assert [c.language for c in clips.captions[row]] == [lang for _, lang in said]
            assert clips.captions[row][0].text == line["caption1"]
            places = clips.sentences(np.full(len(said), row), np.arange(len(said)))
            read = clips.text_vectors(places).numpy()
            assert (read == text[[int(line[c]) for c, _ in said]].astype(np.float32)).all()


def test_further_lines_of_a_clip_are_further_captions(tmp_path: Path) -> None:
    """One line for each clip and caption is the same data as one line for each clip."""
    make_arrays(tmp_path)
    whole = write_features(read_table(arrays_in(tmp_path)), tmp_path / "whole")
    head, *lines = lines_in(tmp_path)
    pairs = []
    for row, split, group, *texts, words, kind in lines:
        for column, text in enumerate(texts):
            if text:
                single = ["", "", ""]
                single[column] = text
                pairs.append([row, split, group, *single, words if column == 0 else "", kind])
    write(tmp_path, [head, *pairs])
    parted = write_features(read_table(arrays_in(tmp_path)), tmp_path / "parted")
    assert parted.content_hash() == whole.content_hash()


def test_without_a_column_of_rows_each_line_is_its_own_row(tmp_path: Path) -> None:
    np.save(tmp_path / "audio.npy", np.eye(3, dtype=np.float32))
    np.save(tmp_path / "text.npy", np.eye(3, dtype=np.float32))
    write(tmp_path, [["text"], ["2"], ["0"], ["1.0"]])
    clips = write_features(read_table(arrays_in(tmp_path)), tmp_path / "out").split("train")
    assert clips.clip_ids == ["0", "1", "2"]
    read = clips.text_vectors(clips.sentences(np.arange(3), np.zeros(3, np.int64))).numpy()
    assert (read == np.eye(3)[[2, 0, 1]]).all()
    write(tmp_path, [["text"], ["2"], ["0"]])
    with pytest.raises(InputError, match=r"no column row.*2 lines and 3 rows"):
        read_table(arrays_in(tmp_path))


def _cell(line: int, column: int, value: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = lines_in(folder)
        lines[line][column] = value
        write(folder, lines)

    return change


def _again(column: int, value: str) -> Callable[[Path], None]:
    """A further line of the first clip, with one column changed."""

    def change(folder: Path) -> None:
        lines = lines_in(folder)
        further = list(lines[1])
        further[column] = value
        write(folder, [*lines, further])

    return change


def _saved(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


def _not_finite(folder: Path) -> None:
    audio = np.load(folder / "audio.npy")
    audio[int(lines_in(folder)[5][0]), 2] = np.nan
    np.save(folder / "audio.npy", audio)


def _too_large(folder: Path) -> None:
    text = np.load(folder / "text.npy").astype(np.float64)
    text[int(lines_in(folder)[5][3])] = 1e300
    np.save(folder / "text.npy", text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cell(3, 0, "49"), r"clips.csv:4: row 49 is out of range: .*audio.npy has rows 0 to 48"),
        (_cell(3, 0, "-1"), r"clips.csv:4: row '-1' is not the number of a row"),
        (_cell(3, 3, "1.5"), r"clips.csv:4: text1 '1.5' is not the number"),
        (_cell(3, 5, "40"), r"clips.csv:4: text_fra 40 is out of range"),
        (_cell(3, 1, "a/b"), r"clips.csv:4: 'a/b' is no name of a split"),
        (_cell(0, 0, "no"), r"no column row"),
        (_again(1, "other"), r"clips.csv:48: clip '\d+' is of split 'other', but of '\w+' in"),
        (_again(2, "again"), r"clips.csv:48: says of clip '\d+' what clips.csv:2 has said"),
        (_not_finite, r"clips.csv:6: row \d+ of the audio array is not finite"),
        (_too_large, r"clips.csv:\d+: row \d+ of the text array is not finite"),
        (_saved("audio.npy", np.zeros(5)), r"audio.npy: expected an array \(rows, width\)"),
        (_saved("audio.npy", np.zeros((5, 0))), r"found \(5, 0\)"),
        (_saved("audio.npy", np.zeros((50, 2), int)), r"expected float16.*found int64"),
        (_saved("audio.npy", np.array([{}])), r"audio.npy: not a readable .npy array"),
        (lambda folder: (folder / "text.npy").write_bytes(b"x"), r"text.npy: not a readable"),
        (lambda folder: (folder / "text.npy").write_bytes(b"PK12"), r"is an archive"),
        (lambda folder: (folder / "text.npy").unlink(), r"text.npy: cannot be read"),
        (lambda folder: write(folder, lines_in(folder)[:1]), r"lists no clip"),
        (lambda folder: (folder / "clips.csv").write_text(""), r"is empty"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    make_arrays(tmp_path)
    change(tmp_path)
    with pytest.raises(InputError, match=said) as found:
        write_features(read_table(arrays_in(tmp_path)), tmp_path / "out")
    assert "\n" not in str(found.value)
    assert not list((tmp_path / "out").glob("*")) + list((tmp_path / "out").glob(".*"))


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    make_arrays(tmp_path)
    for more, said in (
        ({"texts": ["text3"]}, "no column 'text3'.*did you mean"),
        ({"words": {"text9": "kind"}}, "'text9' is none of the columns"),
        ({"words": {"text1": "word"}}, "no column 'word'"),
        ({"labels": ["class"]}, "no column 'class'"),
        ({"splits": ["tset"]}, "no split 'tset'; did you mean 'test'"),
    ):
        with pytest.raises(InputError, match=said):
            read_table(arrays_in(tmp_path, **more))
    write(tmp_path, [["row", "sentence"], ["0", "1"]])
    with pytest.raises(InputError, match="no column begins with 'text'"):
        read_table(arrays_in(tmp_path))


def test_standardized_columns_have_mean_0_and_spread_1_over_the_train_split(tmp_path: Path) -> None:
    make_arrays(tmp_path)
    audio = np.load(tmp_path / "audio.npy").astype(np.float64)
    audio[:, 4] = 7  # a column that does not vary
    np.save(tmp_path / "audio.npy", audio)
    classes = str(tmp_path / "kinds.csv")
    more = {"labels": ["kind"], "classes": classes, "standardize": ["audio", "text"]}
    collection = write_features(read_table(arrays_in(tmp_path, **more)), tmp_path / "out")
    head, *lines = lines_in(tmp_path)
    table = [dict(zip(head, line, strict=True)) for line in lines]
    train = [line for line in table if line["split"] == "train"]
    text = np.load(tmp_path / "text.npy").astype(np.float64)
    said = sorted({int(n[c]) for n in train for c in ("text1", "text2", "text_fra") if n[c]})
    scaled = {}
    for kind, array, rows in (
        ("audio", audio, [int(line["row"]) for line in train]),
        ("text", text, said),
    ):
        spread = array[rows].std(axis=0)
        spread[spread == 0] = 1
        scaled[kind] = (array - array[rows].mean(axis=0)) / spread
        scale = np.load(tmp_path / "out" / f"{kind}_scale.npy")
        assert np.allclose(scale, [array[rows].mean(axis=0), spread])
    for split in collection.splits:
        clips = collection.split(split)
        mine = [line for line in table if line["split"] == split]
        heard = clips.audio_vectors(np.arange(len(clips))).numpy()
        assert np.allclose(heard, scaled["audio"][[int(n["row"]) for n in mine]], atol=1e-5)
        first = clips.sentences(np.arange(len(clips)), np.zeros(len(clips), np.int64))
        read = clips.text_vectors(first).numpy()
        assert np.allclose(read, scaled["text"][[int(n["text1"]) for n in mine]], atol=1e-5)
    dog = collection.split("test").class_vectors(collection.split("test").classes["dog"])
    assert np.allclose(dog.numpy(), scaled["text"][[5, 39]], atol=1e-5)
    with pytest.raises(InputError, match="standardize: is by the clips of split 'train'"):
        read_table(arrays_in(tmp_path, standardize=["audio"], splits=["val", "test"]))
    audio[int(train[2]["row"]), 1] = np.inf
    np.save(tmp_path / "audio.npy", audio)
    with pytest.raises(InputError, match=rf"row {train[2]['row']} of the audio array is not fin"):
        write_features(read_table(arrays_in(tmp_path, **more)), tmp_path / "again")


def test_a_table_of_labels_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    make_arrays(tmp_path)
    place = tmp_path / "kinds.csv"
    for content, said in (
        ("label,text\ndog,40\ncat,1\n", r"kinds.csv:2: text 40 is out of range"),
        ("label,text\ndog,4\n", r"names 1 labels"),
        ("label,text\ndog,4\ncat,\n", r"kinds.csv:3: label 'cat' has no sentence"),
        ("label,text\n,4\ncat,1\n", r"kinds.csv:2: expected a label"),
        ("label,row\ndog,4\n", r"no column begins with 'text'"),
        ("name,text\ndog,4\n", r"no column label"),
    ):
        place.write_text(content)
        with pytest.raises(InputError, match=said):
            read_table(arrays_in(tmp_path, labels=["kind"], classes=str(place)))
    with pytest.raises(InputError, match="classes: go with labels"):
        read_table(arrays_in(tmp_path, classes=str(place)))


def test_a_split_without_captions_has_labels_alone(tmp_path: Path) -> None:
    make_arrays(tmp_path)
    head, *lines = lines_in(tmp_path)
    lines = [[*n[:3], "", "", "", *n[6:]] if n[1] == "test" else n for n in lines]
    write(tmp_path, [head, *lines])
    with pytest.raises(InputError, match=r"neither a sentence .* nor a label"):
        read_table(arrays_in(tmp_path))
    table = read_table(arrays_in(tmp_path, labels=["kind"]))
    clips = write_features(table, tmp_path / "out").split("test")
    assert clips.captions == [()] * 11
    assert len(clips.audio_vectors(np.arange(11))) == 11


@pytest.mark.heavy
def test_what_an_earlier_call_wrote_is_replaced_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_arrays(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    mine = out / "train_audio.npy"
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"train_audio.npy: is there, and no earlier call"):
        write_features(read_table(arrays_in(tmp_path)), out)
    assert [path.name for path in out.iterdir()] == ["train_audio.npy"]
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    more = {"labels": ["kind"], "classes": str(tmp_path / "kinds.csv"), "standardize": ["text"]}
    whole = write_features(read_table(arrays_in(tmp_path, **more)), out).content_hash()
    assert (out / "classes.npy").exists()
    few = read_table(arrays_in(tmp_path, splits=["train", "val"]))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:  # nothing is replaced before all is written
        patch.setattr("supclap.data.features.writing.pa.ipc.new_file", full)
        with pytest.raises(InputError, match="the disk is full"):
            write_features(few, out)
    assert FeatureCollection(out).content_hash() == whole
    replace = os.replace

    def stopped(source: Path, target: Path) -> None:
        if not str(target).endswith(".json"):
            full()
        replace(source, target)

    with monkeypatch.context() as patch:  # stopped among the files
        patch.setattr(os, "replace", stopped)
        with pytest.raises(InputError, match="the disk is full"):
            write_features(few, out)
    with pytest.raises(InputError, match="no split 'train'; it has none"):
        FeatureCollection(out).split("train")
    write_features(few, out)
    kinds = [f"{split}{end}" for split in ("train", "val") for end in (".arrow", "_audio.npy")]
    left = {path.name for path in out.iterdir()}
    assert left >= {"features.json", "train_text.npy", "val_text.npy", *kinds}
    assert not left & {"classes.npy", "text_scale.npy"}


def test_files_that_are_not_what_was_written_are_damaged(tmp_path: Path) -> None:
    folder = make_features(tmp_path).folder
    os.utime(folder / "test_audio.npy", (0, 0))  # a copy of it: read, and found the same
    FeatureCollection(folder).split("test")
    array = folder / "test_audio.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(Damaged, match=r"test_audio.npy: damaged .altered"):
        FeatureCollection(folder).split("test")
    array.write_bytes(content[:-2])
    with pytest.raises(Damaged, match=r"bytes, and features.json says"):
        FeatureCollection(folder).split("test")
    array.unlink()
    with pytest.raises(Damaged, match="cannot be read"):
        FeatureCollection(folder).split("test")
    with pytest.raises(InputError, match="no split 'tset'"):
        FeatureCollection(folder).split("tset")
    index = (folder / "features.json").read_text()
    (folder / "features.json").write_text(index.replace('"clips": 24', '"clips": 25'))
    with pytest.raises(Damaged, match="seal"):
        FeatureCollection(folder)
    (folder / "features.json").unlink()
    with pytest.raises(InputError, match="holds no features"):
        FeatureCollection(folder)


def test_other_numbers_have_another_hash(tmp_path: Path) -> None:
    first = make_features(tmp_path / "a").content_hash()
    again = make_features(tmp_path / "b").content_hash()
    assert again == first
    arrays = tmp_path / "b" / "arrays"
    audio = np.load(arrays / "audio.npy")
    audio[int(lines_in(arrays)[1][0]), 0] += 1
    np.save(arrays / "audio.npy", audio)
    assert write_features(read_table(arrays_in(arrays)), tmp_path / "c").content_hash() != first


def test_the_command_counts_what_it_leaves(tmp_path: Path) -> None:
    make_arrays(tmp_path)
    lines = lines_in(tmp_path)
    train, test = (next(n for n in lines if n[1] == split) for split in ("train", "test"))
    test[2] = train[2]  # one group in two splits
    write(tmp_path, lines)
    options = ["features", "--audio", str(tmp_path / "audio.npy"), "--out", str(tmp_path / "out")]
    options += ["--text", str(tmp_path / "text.npy"), "--captions", str(tmp_path / "clips.csv")]
    done = CliRunner().invoke(prepare_command, [*options, "--splits", "train,val,test"])
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "split clips captions (eng) captions (fra) sentences" in shown
    assert "train 24 48" in shown
    assert f"audio vectors of {AUDIO} numbers, text vectors of {TEXT}" in shown
    assert "2 clips of split 'unused' left out" in shown
    assert "5 rows of the audio array not used" in shown
    assert "1 group with clips in more than one split" in shown
    assert set(FeatureCollection(tmp_path / "out").splits) == {"train", "val", "test"}
    for wrong, said in (
        (["--source", "x"], "--source: goes with collections of sounds"),
        (["--seconds", "2"], "--seconds: goes with"),
        (["--texts", "text1=xyz"], "'eng'"),
        (["--words", "text1"], "expected COLUMN=COLUMN"),
        (["--captions", "more.csv"], "expected one CSV file"),
    ):
        failed = CliRunner().invoke(prepare_command, [*options, *wrong])
        assert isinstance(failed.exception, InputError), wrong
        assert said in str(failed.exception)
    failed = CliRunner().invoke(prepare_command, ["esc50", "--audio", "x.npy", "--out", "y"])
    assert "--audio: goes with features" in str(failed.exception)


@pytest.mark.skipif(not REAL, reason="SUPCLAP_TEST_DATA is not set")
@pytest.mark.parametrize(
    ("name", "counts", "widths"),
    [
        ("nsynth", {"train": 2868, "val": 414, "test": 814}, (384, 128)),
        ("philharmonia", {"train": 4292, "val": 610, "test": 1145}, (384, 128)),
        ("esc50", {"train": 1383, "val": 212, "test": 389, "unused": 16}, (512, 384)),
    ],
)
@pytest.mark.heavy
def test_real_features_as_they_are(
    tmp_path: Path, name: str, counts: dict[str, int], widths: tuple[int, int]
) -> None:
    place = Path(str(REAL)) / "real-features"
    arrays = {"audio": place / f"{name}_audio.npy", "text": place / f"{name}_text.npy"}
    given = {key: str(path) for key, path in arrays.items()}
    given |= {"captions": str(place / f"{name}.csv")}
    table = read_table(ArraysConfig.model_validate(given))
    assert table.split_groups == 0
    collection = write_features(table, tmp_path / name)
    assert {split: len(collection.split(split)) for split in collection.splits} == counts
    assert collection.widths == widths

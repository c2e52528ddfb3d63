"""Indexes of real collections: small copies in the official layouts, and the official files."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from supclap.data.clips import Caption
from supclap.data.sources import SOURCES, read_source
from supclap.data.sources.listing import Listing
from supclap.errors import InputError

REAL = os.environ.get("SUPCLAP_TEST_DATA")
real = pytest.mark.skipif(not REAL, reason="SUPCLAP_TEST_DATA is not set")


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(160, 0.1), 16000)


def table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def found(listing: Listing, root: Path) -> dict[str, str | None]:
    return {
        e.clip_id: e.path.relative_to(root).as_posix() if e.path else None for e in listing.entries
    }


# AudioCaps

HEADER = ("audiocap_id", "youtube_id", "start_time", "caption")


@pytest.mark.parametrize(
    "name",
    [
        *("-bcdefghijk.wav", "Y-bcdefghijk.wav", "-bcdefghijk_30.flac", "Y-bcdefghijk_30.wav"),
        *("-bcdefghijk_30000_40000.flac", "-bcdefghijk_30_40.ogg", "-bcdefghijk_30.0.wav"),
        *("-bcdefghijk_000030.wav", "-bcdefghijk_30.000_40.000.WAV", "4711.wav"),
    ],
)
def test_audiocaps_clips_are_found_under_every_usual_name(tmp_path: Path, name: str) -> None:
    table(tmp_path / "train.csv", [HEADER, (4711, "-bcdefghijk", 30, "A dog, far away")])
    sound(tmp_path / "audio" / "train" / name)
    listing = read_source("audiocaps", tmp_path)
    assert found(listing, tmp_path) == {"-bcdefghijk_30": f"audio/train/{name}"}
    assert listing.entries[0].captions == (Caption("A dog, far away", "eng"),)


def test_audiocaps_never_takes_another_part_of_the_video(tmp_path: Path) -> None:
    rows = [(1, "Yb_defghij-", 30, "a"), (2, "Yb_defghij-", 0, "b"), (3, "aaaaaaaaaaa", 5, "c")]
    table(tmp_path / "train.csv", [HEADER, *rows])
    sound(tmp_path / "Yb_defghij-_30.wav")
    sound(tmp_path / "Yb_defghij-.wav")  # of which of the two clips?
    sound(tmp_path / "aaaaaaaaaaa_70.wav")
    sound(tmp_path / "AAAAAAAAAAA_5.wav")  # ids tell case apart
    listing = read_source("audiocaps", tmp_path)
    assert found(listing, tmp_path) == {
        "Yb_defghij-_30": "Yb_defghij-_30.wav",
        "Yb_defghij-_0": None,
        "aaaaaaaaaaa_5": None,
    }
    assert "several clips" in listing.entries[1].reason
    assert "another part" in listing.entries[2].reason


def test_audiocaps_groups_the_captions_of_a_clip_and_adds_languages(tmp_path: Path) -> None:
    rows = [(i, clip, 10, f"{clip[0]} says {i}") for i, clip in enumerate(["a" * 11, "_" * 11] * 5)]
    table(tmp_path / "dataset" / "test.csv", [HEADER, *rows])
    table(tmp_path / "ja" / "x" / "test.csv", [HEADER, *((*r[:3], f"言う {r[0]}") for r in rows)])
    source = tmp_path / "dataset"
    listing = read_source("audiocaps", source, {"jpn": tmp_path / "ja"})
    assert [(e.split, e.row) for e in listing.entries] == [
        ("test", "test.csv:2"),
        ("test", "test.csv:3"),
    ]
    assert listing.entries[1].captions == tuple(
        Caption(text, language)
        for text, language in [
            *((f"_ says {i}", "eng") for i in (1, 3, 5, 7, 9)),
            *((f"言う {i}", "jpn") for i in (1, 3, 5, 7, 9)),
        ]
    )


def test_audiocaps_a_split_folder_is_preferred_among_copies(tmp_path: Path) -> None:
    for split in ("train", "val"):
        table(tmp_path / f"{split}.csv", [HEADER, (split, f"{split:x<11}", 1, "a")])
        for folder in ("all", "train", "val"):
            sound(tmp_path / "audio" / folder / f"{split:x<11}.wav")
    listing = read_source("audiocaps", tmp_path)
    assert list(found(listing, tmp_path).values()) == [
        "audio/train/trainxxxxxx.wav",
        "audio/val/valxxxxxxxx.wav",
    ]


def test_audiocaps_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no train.csv, val.csv or test.csv"):
        read_source("audiocaps", tmp_path)
    path = tmp_path / "train.csv"
    for rows, message in [
        ([("id", "caption")], "no column audiocap_id, youtube_id, start_time; found id, caption"),
        ([HEADER, (1, "a", 2, "x", "y")], "train.csv:2: 5 fields, expected 4"),
        ([HEADER, (1, "a", "two", "x")], "train.csv:2: start_time 'two' is not a number"),
    ]:
        table(path, rows)
        with pytest.raises(InputError, match=message):
            read_source("audiocaps", tmp_path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"train.csv: is empty; expected the columns audiocap_id"):
        read_source("audiocaps", tmp_path)
    path.write_bytes(",".join(HEADER).encode() + "\n1,a,2,für".encode("latin-1"))
    with pytest.raises(InputError, match=r"train.csv:2: is not UTF-8 text"):
        read_source("audiocaps", tmp_path)
    path.write_bytes(",".join(HEADER).encode("utf-16"))
    with pytest.raises(InputError, match=r"train.csv:1: is not UTF-8 text"):
        read_source("audiocaps", tmp_path)
    other = tmp_path / "other"
    table(other / "train.csv", [HEADER, (9, "a", 2, "x")])
    source = tmp_path / "en"
    table(source / "train.csv", [HEADER, (1, "a", 2, "x")])
    with pytest.raises(InputError, match=r"train.csv:2 \(jpn\): audiocap_id 9 is not in"):
        read_source("audiocaps", source, {"jpn": other})
    with pytest.raises(InputError, match=r"--captions jp=.*unknown language 'jp'.*mean 'jpn'"):
        read_source("audiocaps", source, {"jp": other})
    with pytest.raises(InputError, match=r"--captions jpn=.*no such folder"):
        read_source("audiocaps", source, {"jpn": tmp_path / "none"})


def broken(listing: Listing) -> list[tuple[str, str, str]]:
    return [(note.split, note.row, note.reason) for note in listing.broken_rows]


def test_broken_rows_cost_themselves_alone(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    rows = [
        ",".join(HEADER),
        '1,aaaaaaaaaaa,10,"A dog, far away"',
        "2,bbbbbbbbbbb,10",
        "3,ccccccccccc,10,Rain, and wind",
        "4,ddddddddddd,ten,A bell",
        "5,eeeeeeeeeee,nan,A bell",
        "6,fffffffffff,inf,A bell",
        "1,ggggggggggg,10,A bell",
        ",hhhhhhhhhhh,10,A bell",
        "8,,10,A bell",
        '9,iiiiiiiiiii,10,"two',
        'lines"',
        '10,jjjjjjjjjjj,10,"A quote that nobody closes',
        "11,kkkkkkkkkkk,10,A bell",
        '12,lllllllllll,10,"A ""big"" bell"',
        "13,mmmmmmmmmmm,10,f\xfcr",
        "14,nnnnnnnnnnn,10,A bell",
        '15,ooooooooooo,10,x"',
        '16,ppppppppppp,10,"the last quote',
        "17,qqqqqqqqqqq,10,A bell",
    ]
    path.write_bytes("\n".join(rows).encode("latin-1"))
    listing = read_source("audiocaps", tmp_path)
    assert {entry.clip_id[0]: entry.captions[0].text for entry in listing.entries} == {
        "a": "A dog, far away",
        "i": "two lines",
        "k": "A bell",
        "l": 'A "big" bell',
        "n": "A bell",
        "o": 'x"',
        "q": "A bell",
    }
    columns = "expected 4 (audiocap_id, youtube_id, start_time, caption)"
    quotes = "; a text with a comma needs quotes"
    found = broken(listing)
    assert {split for split, _, _ in found} == {"train"}
    reasons = {row: reason for _, row, reason in found}
    assert len(reasons) == len(found) == 11
    assert reasons["train.csv:3"] == f"3 fields, {columns}{quotes}"
    assert reasons["train.csv:4"] == f"5 fields, {columns}{quotes}"
    assert [reasons[f"train.csv:{line}"] for line in (5, 6, 7, 8, 9, 10)] == [
        "start_time 'ten' is not a number",
        "start_time 'nan' is not a number",
        "start_time 'inf' is not a number",
        "audiocap_id 1 stands already in train.csv:2",
        "audiocap_id is empty",
        "youtube_id is empty",
    ]
    assert "not valid csv" in reasons["train.csv:13"]
    assert reasons["train.csv:16"] == "is not UTF-8 text"
    assert "not valid csv" in reasons["train.csv:19"]


def test_a_quote_that_a_later_row_closes_swallows_none_between(tmp_path: Path) -> None:
    """Read as csv says, the first row's caption is the three rows behind it."""
    path = tmp_path / "train.csv"
    path.write_text(
        ",".join(HEADER)
        + '\n1,aaaaaaaaaaa,1,"A dog\n2,bbbbbbbbbbb,1,Rain\n3,ccccccccccc,1,A bell"\n4,d,1,Wind\n'
    )
    listing = read_source("audiocaps", tmp_path)
    assert [entry.clip_id for entry in listing.entries] == ["bbbbbbbbbbb_1", "ccccccccccc_1", "d_1"]
    assert broken(listing) == [
        ("train", "train.csv:2", "not valid csv: a quote is opened and not closed")
    ]


def test_a_clip_of_two_splits_stays_in_the_first(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", [HEADER, (1, "a", 2, "x"), (3, "b", 2, "x")])
    table(tmp_path / "val.csv", [HEADER, (2, "a", 2, "x"), (4, "c", 2, "x")])
    listing = read_source("audiocaps", tmp_path)
    assert [(e.split, e.clip_id) for e in listing.entries] == [
        ("train", "a_2"),
        ("train", "b_2"),
        ("val", "c_2"),
    ]
    assert broken(listing) == [("val", "val.csv:2", "clip id 'a_2' stands already in train.csv:2")]


def test_rows_of_every_collection_may_be_broken(tmp_path: Path) -> None:
    """Each index has two rows that can be read, and some that cannot."""
    good = ("a.wav", *"12345")
    table(
        tmp_path / "clotho" / "clotho_captions_validation.csv",
        [CLOTHO, good, ("b.wav", "1"), ("../c.wav", *"12345"), good, ("d.wav", *"12345")],
    )
    sound(tmp_path / "clotho" / "validation" / "a.wav")
    header = ("filename", "fold", "category")
    rows = [("a.wav", 1, "dog"), ("b.wav", 1), ("../../../c.wav", 2, "dog"), ("d.wav", 2, "rain")]
    table(tmp_path / "esc50" / "meta" / "esc50.csv", [header, *rows])
    header = ("slice_file_name", "fold", "class")
    table(tmp_path / "urbansound8k" / "metadata" / "UrbanSound8K.csv", [header, *rows])
    rows = [
        ("a" * 11, 1, "x", "test"),
        ("b", "one", "x", "test"),
        ("c",),
        ("d" * 11, 2, "x", "train"),
    ]
    table(tmp_path / "vggsound" / "vggsound.csv", rows)
    items = [{"id": "1", "caption": "x"}, "2", {"id": "3"}, {"id": "../4", "caption": "x"}]
    text = json.dumps({"data": [*items, {"id": 5, "caption": None}]})
    (tmp_path / "wavcaps").mkdir()
    (tmp_path / "wavcaps" / "sb_final.json").write_text(text)
    items = [{"file": "a.wav"}, "b.wav", {"file": "c.wav", "captions": {"xx": "y"}, "split": "val"}]
    items += [{"file": "d.wav", "split": "../x"}, {"file": "e.wav", "clip_id": "\ud800"}]
    items += [{"file": "f.wav", "captions": [7]}, {"file": "g.wav", "captions": ["\ud800", "y"]}]
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "captions.json").write_text(json.dumps(items))
    for name, clips, lost in [
        ("clotho", ["val/a", "val/../c", "val/d"], [("val", 3), ("val", 5)]),
        ("esc50", ["a", "d"], [("", 3), ("fold2", 4)]),
        ("urbansound8k", ["a", "d"], [("", 3), ("fold2", 4)]),
        ("vggsound", ["a" * 11 + "_000001", "d" * 11 + "_000002"], [("test", 2), ("", 3)]),
        ("wavcaps", ["SoundBible/1", "SoundBible/5"], [("train", 1), ("train", 2), ("train", 3)]),
        ("captions", ["a", "g"], [("", 1), ("val", 2), ("", 3), ("train", 4), ("train", 5)]),
    ]:
        listing = read_source(name, tmp_path / name)
        assert [entry.clip_id for entry in listing.entries] == clips, name
        rows_of = [(split, int(re.findall(r"\d+", row)[-1])) for split, row, _ in broken(listing)]
        assert sorted(rows_of, key=lambda one: one[1]) == lost, name
    assert listing.entries[1].captions == (Caption("y"),)


def test_broken_rows_of_a_translation_cost_the_caption_alone(tmp_path: Path) -> None:
    table(tmp_path / "en" / "val.csv", [HEADER, (1, "a", 2, "x"), (2, "b", 2, "y")])
    table(tmp_path / "ja" / "val.csv", [HEADER, (1, "a", 2, "犬"), (2, "b"), (9, "c", 2, "z")])
    listing = read_source("audiocaps", tmp_path / "en", {"jpn": tmp_path / "ja"})
    assert [[c.text for c in e.captions] for e in listing.entries] == [["x", "犬"], ["y"]]
    assert [(n.kind, n.row) for n in listing.notes] == [
        ("caption", "val.csv:3"),
        ("caption", "val.csv:4"),
    ]
    assert "2 fields" in listing.notes[0].reason
    assert "audiocap_id 9 is not in" in listing.notes[1].reason
    clotho(tmp_path / "clotho", "validation", ["a.wav"])
    clotho(tmp_path / "fr", "validation", ["a.wav", "b.wav"])
    listing = read_source("clotho", tmp_path / "clotho", {"fra": tmp_path / "fr"})
    assert len(listing.entries[0].captions) == 10
    assert [n.row for n in listing.notes] == ["clotho_captions_validation.csv:3"]
    clotho(tmp_path / "fr", "validation", ["c.wav"])
    with pytest.raises(InputError, match=r"validation.csv:2 \(fra\): 'c.wav' is not in"):
        read_source("clotho", tmp_path / "clotho", {"fra": tmp_path / "fr"})


# Clotho

CLOTHO = ("file_name", *(f"caption_{i}" for i in range(1, 6)))


def clotho(root: Path, part: str, names: Sequence[str]) -> None:
    rows = [(name, *(f"{name} {i}" for i in range(5))) for name in names]
    table(root / f"clotho_captions_{part}.csv", [CLOTHO, *rows])


@pytest.mark.parametrize(
    "folder",
    ["development", "clotho_audio_development/development", "Clotho_audio_development"],
)
def test_clotho_in_the_layouts_it_unpacks_to(tmp_path: Path, folder: str) -> None:
    clotho(tmp_path, "development", [" one two.wav", "a.02.wav"])
    sound(tmp_path / folder / " one two.wav")
    sound(tmp_path / folder / "a.02.flac")
    listing = read_source("clotho", tmp_path)
    assert found(listing, tmp_path) == {
        "train/one two": f"{folder}/ one two.wav",
        "train/a.02": f"{folder}/a.02.flac",
    }
    assert [c.text for c in listing.entries[1].captions] == [f"a.02.wav {i}" for i in range(5)]
    assert not listing.notes


def test_clotho_parts_become_splits_and_keep_their_files_apart(tmp_path: Path) -> None:
    for part in ("development", "validation", "evaluation"):
        clotho(tmp_path, part, ["same.wav"])
        sound(tmp_path / part / "same.wav")
    assert found(read_source("clotho", tmp_path), tmp_path) == {
        "train/same": "development/same.wav",
        "val/same": "validation/same.wav",
        "test/same": "evaluation/same.wav",
    }


def test_clotho_names_in_another_spelling_are_found_only_where_they_are_certain(
    tmp_path: Path,
) -> None:
    names = [
        "rain &amp; storm.wav",
        "Wind  (far).wav",
        "x-1.wav",
        "x+1.wav",
        "gone-2.wav",
        "été.wav",
    ]
    clotho(tmp_path, "evaluation", names)
    for name in ("rain & storm", "wind__far", "x 1", "gone_2", "e\u0301te\u0301"):
        sound(tmp_path / "evaluation" / f"{name}.flac")
    listing = read_source("clotho", tmp_path)
    assert [e.path.name if e.path else None for e in listing.entries] == [
        *("rain & storm.flac", "wind__far.flac", None, None, "gone_2.flac"),
        "e\u0301te\u0301.flac",
    ]
    assert "1 files and 2 names are spelled alike" in listing.entries[2].reason
    # A letter composed otherwise is the same name; the others are told of.
    assert [(note.kind, note.file) for note in listing.notes] == [
        ("renamed", names[0]),
        ("renamed", names[1]),
        ("renamed", names[4]),
    ]


def test_clotho_in_a_further_language(tmp_path: Path) -> None:
    clotho(tmp_path / "en", "validation", ["a.wav", "b.wav"])
    table(
        tmp_path / "fr" / "clotho_captions_validation.csv",
        [CLOTHO, ("b.wav", "un", "deux", "", "quatre", "cinq")],
    )
    listing = read_source("clotho", tmp_path / "en", {"fra": tmp_path / "fr"})
    assert [c.language for c in listing.entries[0].captions] == ["eng"] * 5
    assert [c.text for c in listing.entries[1].captions][5:] == ["un", "deux", "quatre", "cinq"]
    note = listing.notes[0]
    assert (note.kind, note.row, note.reason) == (
        *("caption", "clotho_captions_validation.csv:2"),
        "empty caption (fra)",
    )


# Labelled collections


def test_esc50(tmp_path: Path) -> None:
    root = tmp_path / "ESC-50-master"
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = [
        ("1-1-A-0.wav", 1, 0, "dog", "True", 1, "A"),
        ("5-2-A-4.wav", 5, 4, "crying_baby", "False", 2, "A"),
    ]
    table(root / "meta" / "esc50.csv", [header, *rows])
    sound(root / "audio" / "1-1-A-0.ogg")
    listing = read_source("esc50", tmp_path)
    assert found(listing, root) == {"1-1-A-0": "audio/1-1-A-0.ogg", "5-2-A-4": None}
    assert [(e.split, e.labels, e.captions) for e in listing.entries] == [
        ("fold1", ("dog",), ()),
        ("fold5", ("crying baby",), ()),
    ]


def test_urbansound8k(tmp_path: Path) -> None:
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    rows = [("7-3-0-0.wav", 7, 0, 4, 1, fold, 3, "dog_bark") for fold in (10,)]
    table(tmp_path / "metadata" / "UrbanSound8K.csv", [header, *rows])
    sound(tmp_path / "audio" / "fold10" / "7-3-0-0.wav")
    sound(tmp_path / "audio" / "fold1" / "7-3-0-0.wav")
    listing = read_source("urbansound8k", tmp_path)
    assert found(listing, tmp_path) == {"7-3-0-0": "audio/fold10/7-3-0-0.wav"}
    assert (listing.entries[0].split, listing.entries[0].labels) == ("fold10", ("dog bark",))


def test_vggsound_whole_table_and_test_list(tmp_path: Path) -> None:
    rows = [("_bcdefghijk", 30, "bird chirping, tweeting", "test"), ("b" * 11, 1, "rain", "train")]
    table(tmp_path / "whole" / "vggsound.csv", rows)
    table(tmp_path / "list" / "test.csv", [("_bcdefghijk_000030.mp4", "bird chirping, tweeting")])
    for root in ("whole", "list"):
        sound(tmp_path / root / "audio" / "_bcdefghijk_000030.flac")
    whole = read_source("vggsound", tmp_path / "whole")
    part = read_source("vggsound", tmp_path / "list")
    for listing in (whole, part):
        entry = listing.entries[0]
        assert (entry.split, entry.clip_id) == ("test", "_bcdefghijk_000030")
        assert entry.labels == ("bird chirping, tweeting",)
        assert entry.path is not None
    assert (whole.entries[1].split, whole.entries[1].path) == ("train", None)


def test_wavcaps_keeps_its_sources_apart(tmp_path: Path) -> None:
    def index(source: str, file: str, items: list[dict]) -> None:
        path = tmp_path / "json_files" / source / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": items}))

    index("FreeSound", "fsd_final.json", [{"id": "17", "caption": "Rain.", "duration": 3.0}])
    index("SoundBible", "sb_final.json", [{"id": "17", "caption": "A horn."}])
    index("AudioSet_SL", "as_final.json", [{"id": "Y-bcdefghijk.wav", "caption": "Wind."}])
    index("BBC_Sound_Effects", "bbc_final.json", [{"id": "NHU1", "caption": " "}])
    for name in ("FreeSound/17", "AudioSet_SL_flac/Y-bcdefghijk", "BBC_Sound_Effects/NHU1"):
        sound(tmp_path / "audio" / f"{name}.flac")
    listing = read_source("wavcaps", tmp_path)
    assert found(listing, tmp_path) == {
        "AudioSet_SL/Y-bcdefghijk": "audio/AudioSet_SL_flac/Y-bcdefghijk.flac",
        "BBC_Sound_Effects/NHU1": "audio/BBC_Sound_Effects/NHU1.flac",
        "FreeSound/17": "audio/FreeSound/17.flac",
        "SoundBible/17": None,
    }
    assert listing.entries[3].reason == "no folder SoundBible with clips"
    assert [(n.kind, n.clip_id) for n in listing.notes] == [("caption", "BBC_Sound_Effects/NHU1")]
    index("FreeSound", "fsd_final.json", [{"id": "17", "text": "Rain."}])
    (row,) = read_source("wavcaps", tmp_path).broken_rows
    assert (row.split, row.row) == ("train", "fsd_final.json:data[0]")
    assert row.reason == "expected an object with 'id' and 'caption'"


# A plain folder


def test_plain_folder_with_captions_csv(tmp_path: Path) -> None:
    rows = [
        ("file", "caption", "language", "split", "label"),
        ("a.wav", "A dog barks", "eng", "test", "dog"),
        ("sub\\b.wav", "Rain", "", "", ""),
        ("a.wav", "Un chien aboie", "fra", "test", "dog"),
        ("a.wav", "  ", "fra", "test", "bark"),
    ]
    table(tmp_path / "captions.csv", rows)
    sound(tmp_path / "a.FLAC")
    sound(tmp_path / "sub" / "b.ogg")
    listing = read_source("captions", tmp_path)
    assert found(listing, tmp_path) == {"a": "a.FLAC", "sub/b": "sub/b.ogg"}
    first, second = listing.entries
    assert (first.split, first.labels) == ("test", ("dog", "bark"))
    assert first.captions == (Caption("A dog barks", "eng"), Caption("Un chien aboie", "fra"))
    assert (second.split, second.labels, second.captions) == ("train", (), (Caption("Rain"),))
    assert [(n.row, n.reason) for n in listing.notes] == [("captions.csv:5", "empty caption (fra)")]
    assert listing.name == tmp_path.name


def test_plain_folder_with_captions_json(tmp_path: Path) -> None:
    items = [
        {"file": "a.wav", "captions": ["x", "y"], "split": "test", "seconds": 3},
        {"file": "b.wav", "captions": {"deu": "z"}, "labels": ["dog"], "clip_id": "B"},
    ]
    (tmp_path / "captions.json").write_text(json.dumps(items))
    one, two = read_source("captions", tmp_path).entries
    assert (one.clip_id, one.split, one.captions) == ("a", "test", (Caption("x"), Caption("y")))
    assert (two.clip_id, two.captions, two.labels) == ("B", (Caption("z", "deu"),), ("dog",))
    for content in ("[" * 50_000, "1" * 5000, '{"file": "a.wav"}'):
        (tmp_path / "captions.json").write_text(content)
        with pytest.raises(InputError, match=r"captions.json: (not usable JSON|expected a list)"):
            read_source("captions", tmp_path)
    (tmp_path / "captions.json").write_text("[\n{'file'}]")
    with pytest.raises(InputError, match=r"captions.json:2: not valid JSON"):
        read_source("captions", tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("file", "captoin")], r"unknown column 'captoin'; did you mean 'caption'\?"),
        ([("name", "caption")], r"no column file; found name, caption; expected file"),
        ([("file", "language"), ("a.wav", "en")], r"captions.csv:2: unknown language 'en'.*'eng'"),
        ([("file",), ("../../etc/passwd.wav",)], r"captions.csv:2: .*leads out of .* folder"),
        ([("file",), ("/etc/passwd.wav",)], r"captions.csv:2: .*leads out of .* folder"),
        ([("file",), ("a/../../x.wav",)], r"captions.csv:2: .*leads out of .* folder"),
        ([("file",), ("C:\\x.wav",)], r"captions.csv:2: .*leads out of .* folder"),
        ([("file", "split"), ("a.wav", "../x")], r"captions.csv:2: '../x' is no name of a split"),
        ([("file",), ('"',)], r"captions.csv:2: not valid csv"),
        ([("file",)], r"the index of captions lists no clip"),
    ],
)
def test_plain_folder_bad_tables(tmp_path: Path, rows: list[tuple[str, ...]], message: str) -> None:
    if rows[-1] == ('"',):
        (tmp_path / "captions.csv").write_text('file\n"a.wav')
    else:
        table(tmp_path / "captions.csv", rows)
    with pytest.raises(InputError, match=message) as error:
        read_source("captions", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("file", "clip_id"), ("a.wav", "1"), ("b.wav", "1")],
            "clip id '1' stands already in captions.csv:2, for the file a.wav",
        ),
        (
            [("file", "split"), ("a.wav", "val"), ("a.wav", "test")],
            "a.wav is of split 'test', but of 'val' in captions.csv:2",
        ),
    ],
)
def test_rows_that_contradict_an_earlier_one_are_broken(
    tmp_path: Path, rows: list[tuple[str, ...]], message: str
) -> None:
    table(tmp_path / "captions.csv", rows)
    listing = read_source("captions", tmp_path)
    assert len(listing.entries) == 1
    assert [(row, reason) for _, row, reason in broken(listing)] == [("captions.csv:3", message)]


@pytest.mark.parametrize("name", ["a.aifc", "a.xyz", "a", "a.tar.gz", "./b/../a", "a.WAV"])
def test_an_exact_name_is_tried_first_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    table(tmp_path / "captions.csv", [("file", "caption"), (name, "x")])
    (tmp_path / "b").mkdir()
    for other in ("a.wav", "a.flac", name):
        (tmp_path / other).write_bytes(b"")
    (entry,) = read_source("captions", tmp_path).entries
    assert entry.path == tmp_path / os.path.normpath(name)
    (tmp_path / name).unlink()
    (entry,) = read_source("captions", tmp_path).entries
    unlike = name in ("a.xyz", "a.tar.gz")  # other names than a with a suffix of sound
    assert entry.path == (None if unlike else tmp_path / "a.wav")


def test_an_exact_name_is_found_in_hidden_and_in_twice_linked_folders(tmp_path: Path) -> None:
    disk, source = tmp_path / "disk", tmp_path / "source"
    names = ["one/a.wav", "two/a.wav", ".hidden/b.wav", "one/c.wav"]
    table(source / "captions.csv", [("file", "caption"), *((name, "x") for name in names)])
    (source / ".hidden").mkdir()
    (disk / "c.wav").mkdir(parents=True)
    for place in (disk / "a.wav", source / ".hidden" / "b.wav"):
        place.write_bytes(b"")
    (source / "one").symlink_to(disk)
    (source / "two").symlink_to(disk)
    entries = read_source("captions", source).entries
    assert [entry.path for entry in entries] == [*(source / name for name in names[:3]), None]


def test_wavcaps_takes_an_exact_name_too(tmp_path: Path) -> None:
    items = [{"id": name, "caption": "x"} for name in ("1", "2.aifc", "3.xyz")]
    (tmp_path / "sb_final.json").write_text(json.dumps({"data": items}))
    (tmp_path / "SoundBible").mkdir()
    for name in ("1.flac", "2.aifc", "2.wav", "3.xyz"):
        (tmp_path / "SoundBible" / name).write_bytes(b"")
    entries = read_source("wavcaps", tmp_path).entries
    assert [e.path.name for e in entries if e.path] == ["1.flac", "2.aifc", "3.xyz"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    """The owner of a folder may keep its sound on another disk; a loop of links ends."""
    disk, source = tmp_path / "disk", tmp_path / "source"
    sound(disk / "a.wav")
    table(source / "captions.csv", [("file", "caption"), ("audio/a.wav", "x")])
    (source / "audio").symlink_to(disk)
    (disk / "back").symlink_to(source)
    assert found(read_source("captions", source), source) == {"audio/a": "audio/a.wav"}


def test_an_index_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever, and /dev/zero has no end."""
    for make, reason in [
        (os.mkfifo, "is a named pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to a file that is not there"),
    ]:
        for collection, index in [("captions", "captions.csv"), ("wavcaps", "sb_final.json")]:
            make(tmp_path / index)
            with pytest.raises(InputError, match=f"{index}: {reason}"):
                read_source(collection, tmp_path)
            (tmp_path / index).unlink()


def test_unknown_names_and_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown collection 'clotoh'; did you mean 'clotho'\?"):
        read_source("clotoh", tmp_path)
    with pytest.raises(InputError, match=r"none: there is no such folder"):
        read_source("clotho", tmp_path / "none")
    with pytest.raises(
        InputError, match=r"--captions goes with audiocaps and clotho, not with esc"
    ):
        read_source("esc50", tmp_path, {"fra": tmp_path})
    for name in SOURCES:
        with pytest.raises(InputError) as error:
            read_source(name, tmp_path)
        assert "\n" not in str(error.value)


# The official files


@pytest.mark.heavy
@real
def test_the_official_audiocaps_tables() -> None:
    root = Path(str(REAL)) / "captions"
    listing = read_source("audiocaps", root / "audiocaps", {"jpn": root / "audiocaps-ja"})
    clips = Counter(entry.split for entry in listing.entries)
    assert clips == {"train": 49_838, "val": 495, "test": 975}
    said = Counter((e.split, c.language) for e in listing.entries for c in e.captions)
    assert said == {
        ("train", "eng"): 49_838,
        **{("val", language): 2_475 for language in ("eng", "jpn")},
        **{("test", language): 4_875 for language in ("eng", "jpn")},
    }
    assert not listing.notes


@real
def test_the_official_clotho_tables_and_real_names(tmp_path: Path) -> None:
    root = Path(str(REAL))
    captions = root / "captions" / "clotho"
    listing = read_source("clotho", captions)
    assert Counter(e.split for e in listing.entries) == {"train": 3839, "val": 1045, "test": 1045}
    assert all(len(entry.captions) == 5 for entry in listing.entries)
    # The mini set has blanks replaced by underscores: each clip is found, and the right one.
    known = json.loads((root / "captioned-mini" / "captions.json").read_text(encoding="utf-8"))
    chosen = {c["id"]: c for c in known if c["dataset"] == "Clotho" and c["split"] == "test"}
    (tmp_path / "evaluation").mkdir()
    for clip in chosen.values():
        file = Path(clip["file"]).name.removeprefix("clotho_")
        (tmp_path / "evaluation" / file).symlink_to(root / "captioned-mini" / clip["file"])
    (tmp_path / "clotho_captions_evaluation.csv").symlink_to(
        captions / "clotho_captions_evaluation.csv"
    )
    matched = [e for e in read_source("clotho", tmp_path).entries if e.path]
    assert {entry.file for entry in matched} == set(chosen)
    for entry in matched:
        assert [c.text for c in entry.captions] == [
            " ".join(text.split()) for text in chosen[entry.file]["captions"]
        ]


@real
def test_the_official_vggsound_list() -> None:
    listing = read_source("vggsound", Path(str(REAL)) / "vggsound")
    assert len(listing.entries) == 15_446
    assert len({entry.labels for entry in listing.entries}) == 309

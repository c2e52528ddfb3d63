"""An index beside what its publishers say of it; lists of clips that are to be left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supclap.data.clips import Caption
from supclap.data.overlap.exclusion import EXCLUDED, read_exclusions, without
from supclap.data.published import EDITIONS, edition_line
from supclap.data.sources import read_source
from supclap.data.sources.listing import Entry, Listing
from supclap.errors import InputError

REAL = os.environ.get("SUPCLAP_TEST_DATA")
real = pytest.mark.skipif(not REAL, reason="SUPCLAP_TEST_DATA names no folder")


def listing(name: str, **counts: int) -> Listing:
    """One with so many clips of one English and one French caption in each split."""
    said = (Caption("A sound."), Caption("Un son.", "fra"))
    found = Listing(name)
    for split, count in counts.items():
        found.entries += [Entry(split, f"{split}{i}", "", "", None, said) for i in range(count)]
    return found


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            listing("audiocaps", train=49_838, test=4_875),
            "the index is that of AudioCaps 1.0, without val: train 49,838, test 4,875 captions, "
            "as published",
        ),
        (
            listing("audiocaps", train=91_256),
            "the index is that of AudioCaps 2.0, without val, test: train 91,256 captions, "
            "as published",
        ),
        (
            listing("audiocaps", test=4_875),
            "the index is that of AudioCaps 1.0 or of AudioCaps 2.0, without train, val: "
            "test 4,875 captions, as published",
        ),
        (
            listing("audiocaps", train=49_274, val=2_475),
            "the index lists train 49,274, val 2,475 captions; AudioCaps 1.0 has train 49,838, "
            "val 2,475, AudioCaps 2.0 has train 91,256, val 2,475: is it cut off, or another "
            "edition?",
        ),
        (
            listing("clotho", train=2_893, test=1_045),
            "the index is that of Clotho 1.0: train 2,893, test 1,045 clips, as published",
        ),
        (listing("vggsound", train=7), ""),
        (listing("captions", train=7), ""),
    ],
)
def test_an_index_is_held_against_what_is_published(found: Listing, line: str) -> None:
    assert edition_line(found) == line


def test_the_published_counts_add_up_to_those_of_the_papers() -> None:
    whole = {e.name: sum(e.counts.values()) for each in EDITIONS.values() for e in each}
    assert whole == {
        "AudioCaps 1.0": 49_838 + 5 * (495 + 975),
        "AudioCaps 2.0": 98_606,
        "Clotho 2.1": 5_929,
        "Clotho 1.0": 3_938,
        "ESC-50": 2_000,
        "ESC-10": 400,
        "UrbanSound8K": 8_732,
        "VGGSound": 15_446,
        "WavCaps": 403_050,
    }


@pytest.mark.heavy
@real
def test_the_official_index_files_are_those_that_are_published() -> None:
    root = Path(str(REAL))
    places = {
        "audiocaps": root / "captions/audiocaps",
        "clotho": root / "captions/clotho",
        "esc50": root / "esc10",
        "urbansound8k": root / "urbansound8k",
        "vggsound": root / "vggsound",
    }
    lines = {name: edition_line(read_source(name, place)) for name, place in places.items()}
    others = ", ".join(f"fold{i}" for i in range(3, 11))
    esc = ", ".join(f"fold{i} 80" for i in range(1, 6))
    assert lines == {
        "audiocaps": "the index is that of AudioCaps 1.0: train 49,838, val 2,475, test 4,875 "
        "captions, as published",
        "clotho": "the index is that of Clotho 2.1: train 3,839, val 1,045, test 1,045 clips, as "
        "published",
        "esc50": f"the index is that of ESC-10: {esc} clips, as published",
        "urbansound8k": f"the index is that of UrbanSound8K, without {others}: fold1 873, "
        "fold2 888 clips, as published",
        "vggsound": "the index is that of VGGSound: test 15,446 clips, as published",
    }


def test_wavcaps_own_lists_leave_out_what_they_name(tmp_path: Path) -> None:
    file = tmp_path / "blacklist_exclude_test_ac.json"
    names = {"AudioSet": ["Y-bcdefghi_k.wav", "Yabsent_____.wav"], "FreeSound": ["17", 18]}
    file.write_text(json.dumps(names), encoding="utf-8")
    given = Listing("wavcaps")
    for clip in ("AudioSet_SL/Y-bcdefghi_k", "AudioSet_SL/Y2bcdefghi_k", "FreeSound/17"):
        given.add(Entry("train", clip, clip, "as_final.json:data[0]", None))
    given.add(Entry("train", "SoundBible/17", "17", "sb_final.json:data[0]", None))
    kept, out, of_none = without(given, [read_exclusions(file)])
    assert [e.clip_id for e in kept.entries] == ["AudioSet_SL/Y2bcdefghi_k", "SoundBible/17"]
    assert (out, of_none) == (2, 2)
    assert [(n.kind, n.clip_id, n.reason) for n in kept.notes] == [
        (EXCLUDED, clip, "blacklist_exclude_test_ac.json leaves it out")
        for clip in ("AudioSet_SL/Y-bcdefghi_k", "FreeSound/17")
    ]
    # The same list on a collection that was cut from the same recordings.
    other = Listing("esc50")
    for clip in ("1-17-A-0", "1-19-A-0"):
        other.add(Entry("fold1", clip, clip, "esc50.csv:2", None))
    assert [e.clip_id for e in without(other, [read_exclusions(file)])[0].entries] == ["1-19-A-0"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1]", "expected {"),
        ("a.json", '{"Freesound": []}', "expected {"),
        ("a.json", '{"AudioSet": "all"}', "AudioSet: expected a list of ids"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '{"AudioSet": ["Yabcdefghijk", null]}', "AudioSet[1]: null is no id"),
        ("a.json", '{"FreeSound": [17, true]}', "FreeSound[1]: true is no id"),
        ("a.json", '{"FreeSound": [" "]}', 'FreeSound[0]: " " is no id'),
        ("a.json", '{"FreeSound": [{"id": 1}]}', 'FreeSound[0]: {"id": 1} is no id'),
        ("a.json", '{"FreeSound": [1], "FreeSound": [2]}', "the key 'FreeSound' stands twice"),
        ("a.csv", "clip,split\nx,y\n", "no column clip_id"),
        ("a.csv", "", "is empty; expected the columns clip_id"),
        ("a.csv", "clip_id;split\nx;y\n", "its fields are separated by ';': use commas"),
        ("a.csv", "clip_id\tsplit\nx\ty\n", "its fields are separated by tabs: use commas"),
        ("a.csv", "clip_id,split,clip_id\nx,y,z\n", "column clip_id stands twice"),
        ("a.csv", "split,clip_id\ntest,x\ntest,\n", "a.csv:3: clip_id is empty"),
    ],
)
def test_what_is_no_list_is_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_exclusions(tmp_path / name)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["\ufeffclip_id\r\nx\r\nx\r\n", "clip_id\rx\r", "clip_id\nx"])
def test_a_list_is_read_whatever_ends_its_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_exclusions(tmp_path / "a.csv").names == {"x"}

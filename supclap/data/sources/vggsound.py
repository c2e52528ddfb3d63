"""VGGSound: vggsound.csv, or the lists train.csv and test.csv, beside a folder of clips.

Chen et al., "VGGSound: A Large-scale Audio-Visual Dataset" (ICASSP 2020). vggsound.csv has the
rows ``id,start,label,split``, the lists have ``id_start.mp4,label``; none has a header. The sound
of the clips is expected in a format of its own (id_000030.wav, .flac), see `youtube` for the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from supclap.data.sources.files import Files, stem
from supclap.data.sources.listing import Entry, Listing
from supclap.data.sources.tables import bare_rows, number
from supclap.data.sources.youtube import Segments
from supclap.errors import InputError

Row = tuple[str, str, str, float, str]  # where, split, youtube id, start in seconds, label


def read(source: Path, captions: Mapping[str, Path]) -> Listing:
    """The clips below ``source``. Raises InputError where no list is there, or one is broken."""
    files = Files(source)
    listing = Listing("vggsound")
    table = list(_rows(source, files, listing))
    segments = Segments(files, ((video, start) for _, _, video, start, _ in table))
    for where, split, video, start, label in table:
        name = f"{video}_{int(start):06d}"
        path, reason = segments.find(video, start, folder=split)
        with listing.row(split, where):
            listing.add(Entry(split, name, name, where, path, (), (label,), reason))
    return listing


def _rows(source: Path, files: Files, listing: Listing) -> Iterator[Row]:
    whole = files.locate("vggsound.csv")
    if whole is not None:
        columns = ("youtube id", "start", "label", "split")
        for where, row in bare_rows(whole, columns, listing.broken("")):
            with listing.row(row["split"], where):
                start = number(row["start"], where, "start")
                yield where, row["split"], row["youtube id"], start, row["label"]
        return
    lists = {split: path for split in ("train", "test") if (path := files.locate(f"{split}.csv"))}
    if not lists:
        raise InputError(f"{source}: no vggsound.csv, train.csv or test.csv of VGGSound below it")
    for split, path in lists.items():
        for where, row in bare_rows(path, ("id_start.mp4", "label"), listing.broken(split)):
            with listing.row(split, where):
                video, _, seconds = stem(row["id_start.mp4"]).rpartition("_")
                yield where, split, video, number(seconds, where, "start"), row["label"]

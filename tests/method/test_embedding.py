"""An index of a folder of sounds, and the texts that search it."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import supclap
from supclap.config import ModelConfig
from supclap.embedding import embed_folder, model_folder, search_index
from supclap.errors import InputError
from supclap.model.clap import CLAP, build_model

EPSILON = float(np.finfo(np.float32).eps)
SMALL = {
    "audio": {"width": 8, "layers": 3},
    "text": {"width": 32, "layers": 1, "vocabulary": 300},
    "dim": 16,
}


def model_of(seed: int = 0) -> CLAP:
    return build_model(ModelConfig.model_validate(SMALL), ["a dog", "rain"], 1.0, seed)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds of several formats and lengths, and what is no sound."""
    where = tmp_path / "sounds"
    (where / "deep" / "er").mkdir(parents=True)
    soundfile.write(where / "b.wav", sound(1.0, 1), 16_000)
    soundfile.write(where / "a.flac", sound(0.4, 2), 16_000)
    soundfile.write(where / "deep" / "er" / "long.ogg", sound(2.5, 3), 16_000)
    soundfile.write(where / "deep" / "silent.wav", np.zeros(8000), 16_000)
    (where / "broken.WAV").write_bytes(b"RIFF")
    (where / "phone.m4a").write_bytes(b"not for libsndfile")
    (where / "notes.txt").write_text("no sound")
    (where / ".hidden.wav").write_bytes(b"")
    return where


def test_every_sound_is_embedded_and_every_skipped_one_listed(folder: Path, tmp_path: Path) -> None:
    model, out = model_of(), tmp_path / "index.parquet"
    seen = []
    report = embed_folder(model, folder, out, lambda done, total: seen.append((done, total)))
    assert (report.files, report.windows) == (3, 5)
    reasons = dict(report.skipped)
    assert sorted(reasons) == ["broken.WAV", "deep/silent.wav", "phone.m4a"]
    assert "silence" in reasons["deep/silent.wav"]
    assert all(str(folder) not in reason for reason in reasons.values())
    assert report.others == (
        (".hidden.wav", "is a hidden file"),
        ("notes.txt", "is no sound, by its name and its content"),
    )
    assert seen[-1] == (7, 7)
    rows = pq.read_table(out).to_pylist()
    assert [(r["path"], r["start"], r["end"]) for r in rows] == [
        ("a.flac", 0.0, 0.4),
        ("b.wav", 0.0, 1.0),
        ("deep/er/long.ogg", 0.0, 1.0),
        ("deep/er/long.ogg", 1.0, 2.0),
        ("deep/er/long.ogg", 1.5, 2.5),
    ]
    direct = model.encode_audio([folder / "a.flac", folder / "b.wav"])
    assert np.array([row["embedding"] for row in rows[:2]]) == pytest.approx(direct, abs=1e-6)


def test_the_best_files_come_first_each_at_its_best_window(folder: Path, tmp_path: Path) -> None:
    model, out = model_of(), tmp_path / "index.parquet"
    embed_folder(model, folder, out)
    hits = search_index(model, out, "a dog barks", k=10)
    table = pq.read_table(out).to_pylist()
    query = model.encode_text("a dog barks")[0]
    best: dict[str, tuple[float, float]] = {}
    for row in table:
        score = float(np.dot(row["embedding"], query))
        best[row["path"]] = max(best.get(row["path"], (-2.0, 0.0)), (score, row["start"]))
    expected = sorted(best.items(), key=lambda item: -item[1][0])
    assert [hit.path for hit in hits] == [path for path, _ in expected]
    # A sum of d products of float32 numbers, of vectors of length 1, whose order is the library's:
    # off by at most d * eps, however near to zero the cosine is.
    near = pytest.approx([score for _, (score, _) in expected], rel=0, abs=len(query) * EPSILON)
    assert [hit.score for hit in hits] == near
    assert [hit.start for hit in hits] == [start for _, (_, start) in expected]
    assert [hit.path for hit in search_index(model, out, "a dog barks", k=2)] == [
        path for path, _ in expected[:2]
    ]


def test_equal_scores_are_in_order_of_path(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("c", "a", "b"):
        soundfile.write(tmp_path / "s" / f"{name}.wav", sound(1.0), 16_000)
    model = model_of()
    embed_folder(model, tmp_path / "s", tmp_path / "i.parquet")
    hits = search_index(model, tmp_path / "i.parquet", "rain")
    assert [hit.path for hit in hits] == ["a.wav", "b.wav", "c.wav"]


def test_an_index_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index.parquet"
    embed_folder(model_of(), folder, out)
    with pytest.raises(InputError, match="was made by model") as caught:
        search_index(model_of(seed=1), out, "rain")
    assert "\n" not in str(caught.value)


def test_an_index_knows_where_its_model_lies(folder: Path, tmp_path: Path) -> None:
    model_of().save(tmp_path / "m")
    embed_folder(supclap.load(tmp_path / "m"), folder, tmp_path / "a.parquet")
    assert model_folder(tmp_path / "a.parquet") == tmp_path / "m"
    embed_folder(model_of(), folder, tmp_path / "b.parquet")
    with pytest.raises(InputError, match="--model"):
        model_folder(tmp_path / "b.parquet")


def test_unusable_indices_and_queries(folder: Path, tmp_path: Path) -> None:
    model, out = model_of(), tmp_path / "index.parquet"
    embed_folder(model, folder, out)
    with pytest.raises(InputError, match="no such index"):
        search_index(model, tmp_path / "none.parquet", "rain")
    (tmp_path / "cut.parquet").write_bytes(out.read_bytes()[:500])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        search_index(model, tmp_path / "cut.parquet", "rain")
    pq.write_table(pq.read_table(out).replace_schema_metadata({}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not an index of this version"):
        search_index(model, tmp_path / "other.parquet", "rain")
    with pytest.raises(InputError, match="k: expected at least 1"):
        search_index(model, out, "rain", k=0)
    with pytest.raises(InputError, match="expected words"):
        search_index(model, out, "  ")


def test_a_folder_without_a_readable_sound_leaves_no_index(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "x.wav").write_bytes(b"RIFF")
    out = tmp_path / "out" / "index.parquet"
    with pytest.raises(InputError, match=r"1 skipped; the first: x\.wav"):
        embed_folder(model_of(), tmp_path / "s", out)
    assert os.listdir(out.parent) == []
    with pytest.raises(InputError, match="no such folder"):
        embed_folder(model_of(), tmp_path / "none", out)


def test_an_interrupted_run_keeps_the_earlier_index(folder: Path, tmp_path: Path) -> None:
    model, out = model_of(), tmp_path / "index.parquet"
    embed_folder(model, folder, out)
    before = out.read_bytes()

    def interrupted(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_folder(model_of(seed=1), folder, out, interrupted)
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["index.parquet", "sounds"]


def test_a_sound_is_embedded_whatever_its_name(tmp_path: Path) -> None:
    where = tmp_path / "sounds"
    where.mkdir()
    names = ["a.aifc", "b.bwf", "c.xyz", "d", "e.raw", "f.WAV", "g.txt"]
    for name in names:
        kind = "AIFF" if name == "a.aifc" else "WAV"
        soundfile.write(tmp_path / "x", sound(1.0), 16_000, format=kind)
        (tmp_path / "x").rename(where / name)
    (where / "utf16.txt").write_bytes("MPEG, by its first two bytes".encode("utf-16") * 50)
    (where / "table.csv").write_text("a,b\n")
    report = embed_folder(model_of(), where, where / "index.parquet")
    assert report.files == len(names)
    assert [path for path, _ in report.others] == ["table.csv", "utf16.txt"]
    # The index lies in the folder that it is of: it is no part of it.
    assert embed_folder(model_of(), where, where / "index.parquet") == report


def test_what_cannot_be_read_or_named_is_passed_over_with_its_reason(tmp_path: Path) -> None:
    where = tmp_path / "sounds"
    (where / ".git").mkdir(parents=True)
    soundfile.write(where / "a.wav", sound(1.0), 16_000)
    soundfile.write(where / ".git" / "object.wav", sound(1.0), 16_000)
    for name in (b"caf\xe9.wav", b"two\nlines.wav", b"bell\x07.wav", b"return\r.txt"):
        os.link(where / "a.wav", os.fsencode(where) + b"/" + name)
    os.mkfifo(where / "pipe.wav")
    os.mkfifo(where / "pipe")
    (where / "gone.wav").symlink_to("nowhere.wav")
    (where / "zero.wav").symlink_to("/dev/zero")
    (where / "again").symlink_to(where)
    (where / "linked.wav").symlink_to(where / "a.wav")
    report = embed_folder(model_of(), where, tmp_path / "index.parquet")
    assert pq.read_table(tmp_path / "index.parquet").column("path").to_pylist() == [
        "a.wav",
        "linked.wav",
    ]
    control = "its name holds a line break or another control character; rename it"
    assert dict(report.skipped) == {
        "bell\x07.wav": control,
        os.fsdecode(b"caf\xe9.wav"): "its name is not UTF-8 text; rename it",
        "gone.wav": "is a link to a file that is not there",
        "pipe.wav": "is a named pipe, not a file",
        "two\nlines.wav": control,
        "zero.wav": "is a device, not a file",
    }
    assert dict(report.others) == {
        ".git": "is a hidden folder",
        "again": "is a folder that is read under another name already",
        "pipe": "is a named pipe, not a file",
        "return\r.txt": control,
    }


def test_an_index_is_never_written_over_what_is_no_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(1.0), 16_000)
    (tmp_path / "device").symlink_to("/dev/null")
    for out, what in [(tmp_path / "device", "a device"), (tmp_path, "a folder")]:
        with pytest.raises(InputError, match=f"is {what}, not a file; expected a file to write"):
            embed_folder(model_of(), tmp_path, out)
    assert (tmp_path / "device").is_symlink()


def test_an_index_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    soundfile.write(tmp_path / "s" / "a.wav", sound(1.0), 16_000)
    model = model_of()
    model.save(tmp_path / os.fsdecode(b"mod\xe8le"))
    model = supclap.load(tmp_path / os.fsdecode(b"mod\xe8le"))
    for name in (b"caf\xe9.parquet", b"s3:x.parquet", b"a?b%#&=+ '\".parquet", b"two\nlines"):
        out = tmp_path / os.fsdecode(name)
        embed_folder(model, tmp_path / "s", out)
        assert [hit.path for hit in search_index(model, out, "rain")] == ["a.wav"]
        assert model_folder(out) == model.folder


def test_an_index_that_is_no_file_or_has_other_columns(folder: Path, tmp_path: Path) -> None:
    model, out = model_of(), tmp_path / "index.parquet"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: is a named pipe, not a file"):
        search_index(model, tmp_path / "pipe", "rain")
    embed_folder(model, folder, out)
    table = pq.read_table(out)
    pq.write_table(table.drop_columns(["start"]), tmp_path / "less.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    for name in ("less", "empty"):
        with pytest.raises(InputError, match="its columns are not those of an index"):
            search_index(model, tmp_path / f"{name}.parquet", "rain")
    marks = {k: v for k, v in table.schema.metadata.items() if k != b"supclap.folder"}
    pq.write_table(table.replace_schema_metadata(marks), tmp_path / "marks.parquet")
    with pytest.raises(InputError, match="not an index of this version"):
        search_index(model, tmp_path / "marks.parquet", "rain")

"""supclap prepare: what is read and what is lost, resuming, and faults of disk and input."""

import csv
import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from waiting import PATIENCE, until

import supclap.data.prepare as module
import supclap.data.shards as shards
from supclap.data.clips import Caption, Collection
from supclap.data.prepare import PrepareReport, prepare
from supclap.data.prepare_command import prepare_command
from supclap.errors import InputError
from supclap.storage import Folder

REAL = os.environ.get("SUPCLAP_TEST_DATA")
real = pytest.mark.skipif(not REAL, reason="SUPCLAP_TEST_DATA is not set")


def write(path: Path, sound: np.ndarray, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate)


def folder(root: Path, clips: int, samples: int = 800) -> Path:
    """A plain collection of noises n0.wav, n1.wav, ... with one caption each."""
    rng = np.random.default_rng(0)
    lines = ["file,caption,split"]
    for i in range(clips):
        write(root / f"n{i}.wav", rng.uniform(-0.5, 0.5, samples), 22050 if i % 2 else 16000)
        lines.append(f"n{i}.wav,noise {i},{'test' if i % 3 == 0 else 'train'}")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def skipped(out: Path) -> list[dict[str, str]]:
    with open(out / "skipped.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("source") / "noises", 70)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed")
    prepare("captions", source, out)
    return content(out)


@pytest.mark.heavy
def test_a_prepared_collection_holds_what_the_index_says(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    report = prepare("captions", source, tmp_path, progress=lambda *position: told.append(position))
    assert {name: (s.listed, s.read, s.lost) for name, s in report.splits.items()} == {
        "test": (24, 24, {}),
        "train": (46, 46, {}),
    }
    assert report.decoded == 70
    assert [step for step in told if step[0] == "decoding"][-1] == ("decoding", 70, 70)
    collection = Collection(tmp_path)
    assert (collection.name, collection.splits) == ("noises", ("test", "train"))
    clip = collection.split("train")[0]
    assert (clip.clip_id, clip.captions, clip.source) == ("n1", (Caption("noise 1"),), "n1.wav")
    assert len(clip.audio) == -(-800 * 16000 // 22050)
    sound, _ = soundfile.read(source / "n0.wav", dtype="int16")
    assert np.array_equal(collection.split("test").audio(0), sound)
    assert content(tmp_path) == undisturbed
    assert set(undisturbed) == {
        *("collection.json", "prepared.json", "skipped.csv", "test.arrow", "train.arrow")
    }


@pytest.mark.heavy
def test_a_second_call_has_nothing_to_do(source: Path, tmp_path: Path) -> None:
    prepare("captions", source, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")}
    report = prepare("captions", source, tmp_path)
    assert (report.decoded, report.splits["train"].read) == (0, 46)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")} == before
    # Another caption changes the split, and a lost file of a split makes it anew.
    (tmp_path / "test.arrow").unlink()
    assert prepare("captions", source, tmp_path).decoded == 24
    assert prepare("captions", source, tmp_path, seconds=0.01).decoded == 70
    assert Collection(tmp_path).split("train").lengths.max() == 160


@pytest.mark.heavy
def test_interrupted_between_any_two_steps_it_resumes_to_the_same_bytes(
    source: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every start is stopped after 20 steps, in shards as between them, until one comes through."""
    stops = left = 0

    class Stopped(BaseException):
        pass

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped
            return function(*arguments, **options)

        return wrapped

    for owner, name in [
        (os, "replace"),
        (shards, "decode"),
        (module, "write_split"),
        (Folder, "write"),
        (shutil, "rmtree"),
    ]:
        monkeypatch.setattr(owner, name, stopping(getattr(owner, name)))
    report: PrepareReport | None = None
    while report is None:
        left = 20  # a shard of 16 clips takes 17: each start gets one further at least
        try:
            report = prepare("captions", source, tmp_path)
        except Stopped:
            stops += 1
        assert stops < 50
    monkeypatch.undo()
    assert stops > 4
    assert report.decoded < 70
    assert content(tmp_path) == undisturbed


_SCRIPT = """
import sys, time
from pathlib import Path
from supclap.data import prepare as p
if __name__ == "__main__":
    # The first run is held up, so that it is not done before it can be killed.
    pause = float(sys.argv[3])
    report = p.prepare(
        "captions", Path(sys.argv[1]), Path(sys.argv[2]), workers=2,
        progress=lambda *_: time.sleep(pause),
    )
    print(report.decoded)
"""


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_killed_while_it_decodes_it_resumes_and_leaves_no_process(
    tmp_path: Path, stop: signal.Signals
) -> None:
    source, out = folder(tmp_path / "noises", 30, samples=80_000), tmp_path / "out"
    lines = [f"n{i % 30}.wav,noise,clip {i},{('train', 'test')[i // 160]}" for i in range(320)]
    (source / "captions.csv").write_text("\n".join(["file,caption,clip_id,split", *lines]))
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(source), str(out)]
    process = subprocess.Popen(
        [*command, "0.5"],
        stderr=subprocess.DEVNULL,
        # A shell that starts the tests in the background has Ctrl-C ignored in all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: len(list(out.glob(".prepare/*.arrow"))) >= 2, process, pause=0.01)
    workers = children(process.pid)
    process.send_signal(stop)
    process.send_signal(stop)  # as somebody who presses Ctrl-C twice
    assert process.wait(timeout=PATIENCE) != 0
    assert len(workers) >= 2
    until(lambda: not any(Path(f"/proc/{pid}/status").exists() for pid in workers))
    done = len(list(out.glob(".prepare/*.arrow")))
    assert 2 <= done < 20
    assert not (out / "collection.json").exists()
    again = subprocess.run([*command, "0"], check=True, capture_output=True, text=True)
    assert int(again.stdout) == 320 - 16 * done
    prepare("captions", source, tmp_path / "whole")
    assert Collection(out).split("train")[31].captions == (Caption("noise"),)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.heavy
def test_a_killed_worker_is_told_and_what_is_done_is_kept(source: Path, tmp_path: Path) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()

    with pytest.raises(InputError, match=r"a decoding process was killed.*fewer --workers"):
        prepare("captions", source, tmp_path, workers=2, progress=kill)
    assert prepare("captions", source, tmp_path).decoded < 70


def damaged(root: Path) -> Path:
    """Twelve clips, of which seven are lost, each in its own way."""
    folder(root, 12, samples=1600)
    lines = (root / "captions.csv").read_text().replace("train", "test").splitlines()
    (root / "n0.wav").unlink()
    (root / "n1.wav").write_bytes(b"")
    (root / "n2.wav").write_bytes((root / "n2.wav").read_bytes()[:1000])
    write(root / "n3.wav", np.zeros(1600))
    soundfile.write(root / "n4.wav", np.full(1600, np.nan), 16000, subtype="FLOAT")
    write(root / "n5.wav", np.zeros(0))
    lines[7] = "n6.wav, ,test"
    lines.append("n7.wav,,test")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def test_every_loss_is_counted_and_listed_with_its_reason(tmp_path: Path) -> None:
    source, out = damaged(tmp_path / "source"), tmp_path / "out"
    with pytest.raises(InputError) as error:
        prepare("captions", source, out, max_loss=0.5)
    assert str(error.value).startswith(
        "split test: 7 of 12 clips are lost (1 missing, 1 uncaptioned, 4 unreadable, 1 silent), "
        "more than the 50.0% allowed; the first: captions.csv:2, 'n0.wav': no such file"
    )
    assert "--max-loss 0.584 accepts it" in str(error.value)
    assert not (out / "collection.json").exists()
    assert not list(out.glob("*.arrow"))
    expected = [
        ("n6", "captions.csv:8", "caption", "empty caption"),
        ("n7", "captions.csv:14", "caption", "empty caption"),
        ("n0", "captions.csv:2", "missing", "no such file"),
        ("n6", "captions.csv:8", "uncaptioned", "neither a caption nor a label"),
        ("n1", "captions.csv:3", "unreadable", "an empty file of 0 bytes"),
        ("n2", "captions.csv:4", "unreadable", "truncated: 30%"),
        ("n3", "captions.csv:5", "silent", "every sample is zero"),
        ("n4", "captions.csv:6", "unreadable", "NaN or infinite samples, the first at 0.000 s"),
        ("n5", "captions.csv:7", "unreadable", "holds no samples"),
    ]
    lines = skipped(out)
    assert [(line["clip_id"], line["row"], line["kind"]) for line in lines] == [
        line[:3] for line in expected
    ]
    for line, (*_, reason) in zip(lines, expected, strict=True):
        assert reason in line["reason"]
        assert line["file"] == line["clip_id"] + ".wav"
    # Told that it may, it keeps the others, without decoding again.
    report = prepare("captions", source, out, max_loss=0.584)
    assert report.decoded == 0
    assert report.captions_dropped == 2
    assert report.splits["test"].lost == {
        "missing": 1,
        "uncaptioned": 1,
        "unreadable": 4,
        "silent": 1,
    }
    assert Collection(out).split("test").clip_ids == ["n7", "n8", "n9", "n10", "n11"]
    assert skipped(out) == lines
    again = prepare("captions", source, out, max_loss=1)
    assert again.splits == report.splits
    assert skipped(out) == lines
    with pytest.raises(InputError, match="7 of 12 clips are lost"):
        prepare("captions", source, out)


def test_what_is_no_file_or_has_no_name_is_lost_with_its_reason(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 3, samples=1600)
    os.mkfifo(source / "pipe.wav")
    (source / "gone.wav").symlink_to("nowhere.wav")
    (source / "zero.wav").symlink_to("/dev/zero")
    (source / "folder.wav").mkdir()
    (source / "linked.wav").symlink_to("n1.wav")
    os.link(source / "n0.wav", source / "two\nlines.wav")
    os.link(source / "n0.wav", os.fsencode(source) + b"/caf\xe9.wav")
    (source / "captions.csv").unlink()
    names = [
        "n0",
        "n1",
        "n2",
        "linked",
        "pipe",
        "gone",
        "zero",
        "folder",
        "two\nlines",
        "caf\udce9",
    ]
    items = [{"file": f"{name}.wav", "captions": "x"} for name in names]
    (source / "captions.json").write_text(json.dumps(items))
    report = prepare("captions", source, tmp_path / "out", max_loss=0.6)
    assert report.splits["train"].lost == {"broken": 1, "missing": 1, "unreadable": 4}
    assert Collection(tmp_path / "out").split("train").clip_ids == names[:4]
    assert {line["file"]: line["reason"] for line in skipped(tmp_path / "out")} == {
        "pipe.wav": "is a named pipe, not a file",
        "gone.wav": "is a link to a file that is not there",
        "zero.wav": "is a device, not a file",
        "folder.wav": "no such file, in any audio format",
        "two\nlines.wav": "its name holds a line break or another control character; rename it",
        "": "clip id or label is not Unicode text",
    }
    with pytest.raises(InputError) as fault:
        prepare("captions", source, tmp_path / "other")
    assert "\n" not in str(fault.value)


def test_a_file_of_a_rate_that_cannot_be_does_not_end_the_others(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 6)
    data = bytearray((source / "n0.wav").read_bytes())
    for name, rate in [("n1", 100_000_000), ("n2", 2**31 - 1), ("n4", 0)]:
        data[24:28] = rate.to_bytes(4, "little")
        (source / f"{name}.wav").write_bytes(data)
    report = prepare("captions", source, tmp_path / "out", into="test", max_loss=0.5, workers=2)
    assert report.splits["test"].lost == {"unreadable": 3}
    assert Collection(tmp_path / "out").split("test").clip_ids == ["n0", "n3", "n5"]
    lines = {line["clip_id"]: line["reason"] for line in skipped(tmp_path / "out")}
    assert lines["n1"].startswith("its header says 100,000,000 samples a second")


def test_one_broken_row_of_a_list_is_a_loss_like_others(tmp_path: Path) -> None:
    header = "audiocap_id,youtube_id,start_time,caption"
    source, out = tmp_path / "source", tmp_path / "out"
    lines = [header]
    for i in range(20):
        write(source / f"{i:011}_10.wav", np.random.default_rng(i).uniform(-0.5, 0.5, 800))
        lines.append(f"{i},{i:011},10,sound number {i}")
    lines[7] = "6,00000000006,ten,sound number 6"
    (source / "train.csv").write_text("\n".join(lines))
    report = prepare("audiocaps", source, out)
    assert (report.splits["train"].listed, report.splits["train"].read) == (20, 19)
    assert report.splits["train"].lost == {"broken": 1}
    assert skipped(out) == [
        {
            "split": "train",
            "clip_id": "",
            "file": "",
            "row": "train.csv:8",
            "kind": "broken",
            "reason": "start_time 'ten' is not a number",
        }
    ]
    assert prepare("audiocaps", source, out).decoded == 0
    lines[8] = "7,00000000007,10,sound, number 7"
    (source / "train.csv").write_text("\n".join(lines))
    with pytest.raises(InputError) as fault:
        prepare("audiocaps", source, tmp_path / "other")
    assert str(fault.value).startswith(
        "split train: 2 of 20 clips are lost (2 broken), more than the 5.0% allowed; "
        "the first: train.csv:8: start_time 'ten' is not a number; all are in"
    )
    assert "--max-loss 0.1 accepts it" in str(fault.value)
    report = prepare("audiocaps", source, tmp_path / "other", max_loss=0.1)
    assert report.splits["train"].read == 18
    found = CliRunner().invoke(
        prepare_command,
        [*("audiocaps", "--source", str(source), "--out", str(tmp_path / "other")), "--max-loss=1"],
        catch_exceptions=False,
    )
    assert "broken" in found.output.splitlines()[1].split()


def test_broken_rows_that_tell_no_split_count_against_all(tmp_path: Path) -> None:
    source, out = folder(tmp_path / "source", 30), tmp_path / "out"
    lines = (source / "captions.csv").read_text().splitlines()
    lines[3], lines[4] = "n2.wav", "n3.wav,a, b, c,test"
    (source / "captions.csv").write_text("\n".join(lines))
    with pytest.raises(InputError) as fault:
        prepare("captions", source, out)
    assert str(fault.value).startswith(
        "2 of 30 rows of the index are broken and name no split, more than the 5.0% allowed; "
        "the first: captions.csv:4: 1 field, expected 3 (file, caption, split)"
    )
    assert "--max-loss 0.067 accepts it" in str(fault.value)
    report = prepare("captions", source, out, max_loss=0.067)
    assert report.broken == 2
    assert sum(split.read for split in report.splits.values()) == 28
    assert [(line["split"], line["row"]) for line in skipped(out)] == [
        ("", "captions.csv:4"),
        ("", "captions.csv:5"),
    ]
    # With all in one split, they are of that one.
    one = prepare("captions", source, tmp_path / "one", into="test", max_loss=0.067)
    assert (one.broken, one.splits["test"].lost) == (0, {"broken": 2})
    # Another split's broken rows are no matter.
    lines[2] = "/n1.wav,noise,train"
    (source / "captions.csv").write_text("\n".join(lines))
    chosen = prepare("captions", source, tmp_path / "test", splits=["test"], max_loss=0.2)
    assert (chosen.broken, chosen.splits["test"].lost) == (2, {})


def test_absent_files_are_told_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder(tmp_path / "source", 6)
    monkeypatch.setattr(shards, "decode", lambda *_: pytest.fail("decoded"))
    (source / "n0.wav").unlink()
    with pytest.raises(InputError, match=r"split test: 1 of 2 clips are lost \(1 missing\)"):
        prepare("captions", source, tmp_path / "out")
    (source / "n3.wav").unlink()
    with pytest.raises(InputError, match=r"nothing is left.*--splits leaves a split out"):
        prepare("captions", source, tmp_path / "out", max_loss=1)


def test_splits_languages_and_seconds_are_chosen(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 6, samples=8000)
    (source / "captions.csv").write_text(
        "file,caption,language,split\n"
        "n0.wav,a,eng,train\nn0.wav,b,fra,train\nn2.wav,c,fra,val\nn4.wav,d,eng,test\n"
    )
    out = tmp_path / "out"
    report = prepare(
        "captions", source, out, splits=["val", "train"], languages=["fra"], seconds=0.1
    )
    assert list(report.splits) == ["train", "val"]
    clips = Collection(out).split("train")
    assert clips.captions == [(Caption("b", "fra"),)]
    assert clips.lengths.tolist() == [1600]
    prepare("captions", source, tmp_path / "one", into="test")
    assert Collection(tmp_path / "one").split("test").clip_ids == ["n0", "n2", "n4"]
    # Another split is added to what is there.
    prepare("captions", source, out, splits=["test"])
    assert Collection(out).splits == ("train", "val", "test")
    with pytest.raises(InputError, match=r"no split 'tset'; did you mean 'test'\?"):
        prepare("captions", source, out, splits=["tset"])
    with pytest.raises(InputError, match=r"--languages: unknown language 'fr'"):
        prepare("captions", source, out, languages=["fr"])
    with pytest.raises(InputError, match=r"split test: 1 of 1 clips are lost \(1 uncaptioned\)"):
        prepare("captions", source, out, languages=["fra"])


def test_places_and_numbers_that_cannot_be(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file; expected a folder"):
        prepare("captions", source, tmp_path / "file")
    with pytest.raises(InputError, match=r"file/out: cannot be written to: Not a directory"):
        prepare("captions", source, tmp_path / "file" / "out")
    other = folder(tmp_path / "other", 3)
    prepare("captions", other, tmp_path / "out")
    with pytest.raises(InputError, match="holds the collection 'other' already"):
        prepare("captions", source, tmp_path / "out")
    for wrong in ({"workers": 0}, {"max_loss": 1.5}, {"max_loss": float("nan")}, {"seconds": 0}):
        with pytest.raises(InputError, match=r"expected workers >= 1, max-loss from 0 to 1"):
            prepare("captions", source, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


@pytest.mark.heavy
def test_a_damaged_record_makes_the_splits_anew(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    prepare("captions", source, tmp_path)
    record = json.loads((tmp_path / "prepared.json").read_text())
    short = {**record, "train": {**record["train"], "report": {"read": "1"}}}
    lines = {**record, "train": {**record["train"], "skipped": [["x"]]}}
    for damaged in ["", "[1]", '{"train": 7}', "[" * 50_000, json.dumps(short), json.dumps(lines)]:
        (tmp_path / "prepared.json").write_text(damaged)
        assert prepare("captions", source, tmp_path).decoded >= 46
        found = content(tmp_path)
        assert json.loads(found.pop("prepared.json")) == record
        assert found == {k: v for k, v in undisturbed.items() if k != "prepared.json"}


def test_a_place_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """Sound may lie there; pyarrow, which writes the collection, takes no such name."""
    source = folder(tmp_path / "source", 3).rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError, match=r"caf\\xe9: its name is not UTF-8 text; choose another"):
        prepare("captions", source, tmp_path / "out" / source.name)
    prepare("captions", source, tmp_path / "out")
    assert Collection(tmp_path / "out").name == r"caf\xe9"
    assert prepare("captions", source, tmp_path / "out").decoded == 0


def test_one_preparation_at_a_time(source: Path, tmp_path: Path) -> None:
    def again(stage: str, done: int, total: int) -> None:
        with pytest.raises(InputError, match="another process is preparing it"):
            prepare("captions", source, tmp_path)

    prepare("captions", source, tmp_path, progress=again)


@pytest.mark.parametrize("what", ["shard", "split"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    source: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    calls = 0

    def full(*_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_replace(*_)

    real_replace = os.replace
    with monkeypatch.context() as patch:
        if what == "shard":
            patch.setattr(os, "replace", full)
        else:
            patch.setattr(module._Part, "clips", lambda self: (full() for _ in range(3)))
            calls = 2
        with pytest.raises(InputError, match=r"the disk is full; what is decoded is kept"):
            prepare("captions", source, tmp_path)
    assert not (tmp_path / "collection.json").exists()
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
    assert not list(tmp_path.glob("*.arrow*"))
    report = prepare("captions", source, tmp_path)
    assert report.decoded < 70
    assert content(tmp_path) == undisturbed


@pytest.mark.heavy
@pytest.mark.parametrize("workers", [1, 2])
def test_a_really_full_disk(
    source: Path, undisturbed: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    """On a file system of 100 kB; the collection needs 95 kB twice."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own needs the right to mount one")
    try:
        with pytest.raises(InputError, match=r"the disk is full"):
            prepare("captions", source, tmp_path / "out", workers=workers)
        assert not (tmp_path / "out" / "collection.json").exists() or Collection(tmp_path / "out")
        assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
        grow = ["mount", "-o", "remount,size=2m", str(tmp_path)]
        subprocess.run(grow, check=True, capture_output=True)
        prepare("captions", source, tmp_path / "out", workers=workers)
        assert content(tmp_path / "out") == undisturbed
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.heavy
def test_the_command_counts_and_tells(source: Path, tmp_path: Path) -> None:
    arguments = ["captions", "--source", str(source), "--out", str(tmp_path), "--workers", "1"]
    done = CliRunner().invoke(prepare_command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["test", "24", "24", "0", "0", "0", "0", "0.00"] in rows
    assert ["train", "46", "46", "0", "0", "0", "0", "0.00"] in rows
    bad = damaged(tmp_path / "bad")
    arguments = ["captions", "--source", str(bad), "--out", str(tmp_path / "b"), "--max-loss", "1"]
    done = CliRunner().invoke(
        prepare_command, [*arguments, "--workers", "1"], catch_exceptions=False
    )
    assert ["test", "12", "5", "1", "4", "1", "1", "0.00"] in [
        line.split() for line in done.stdout.splitlines()
    ]
    assert done.stdout.endswith(
        f"2 captions left out; each with its reason in {tmp_path / 'b' / 'skipped.csv'}\n"
    )
    with pytest.raises(InputError, match=r"--captions jpn: expected LANGUAGE=DIR"):
        CliRunner().invoke(
            prepare_command, [*arguments, "--captions", "jpn"], catch_exceptions=False
        )


# The real thing


@real
@pytest.mark.heavy
def test_esc10_whole_in_two_processes(tmp_path: Path) -> None:
    report = prepare("esc50", Path(str(REAL)) / "esc10", tmp_path, workers=2)
    assert {name: s.read for name, s in report.splits.items()} == {
        f"fold{i}": 80 for i in range(1, 6)
    }
    folds = [Collection(tmp_path).split(f"fold{i}") for i in range(1, 6)]
    names = {label for fold in folds for labels in fold.labels for label in labels}
    assert len(names) == 10
    assert {"crying baby", "sea waves"} <= names
    assert {int(n) for fold in folds for n in fold.lengths} == {80_000}


@real
def test_a_part_of_urbansound8k(tmp_path: Path) -> None:
    whole = Path(str(REAL)) / "urbansound8k"
    lines = (whole / "metadata" / "UrbanSound8K.csv").read_text().splitlines()
    chosen = [lines[0], *(line.replace(".ogg", ".wav") for line in lines[1::80])]
    (tmp_path / "in" / "metadata").mkdir(parents=True)
    (tmp_path / "in" / "metadata" / "UrbanSound8K.csv").write_text("\n".join(chosen))
    (tmp_path / "in" / "audio").symlink_to(whole / "audio")
    report = prepare("urbansound8k", tmp_path / "in", tmp_path / "out")
    assert sum(s.read for s in report.splits.values()) == len(chosen) - 1
    assert set(report.splits) == {"fold1", "fold2"}


@real
def test_the_captioned_clips_become_one_test_split(tmp_path: Path) -> None:
    root = Path(str(REAL)) / "captioned-mini"
    report = prepare("captions", root, tmp_path, into="test")
    assert report.splits["test"].read == 42
    clips = Collection(tmp_path).split("test")
    assert {len(captions) for captions in clips.captions} == {5}
    listed = json.loads((root / "captions.json").read_text(encoding="utf-8"))
    for clip, item in zip(clips, listed, strict=True):
        assert len(clip.audio) == pytest.approx(item["seconds"] * 16000, abs=200)

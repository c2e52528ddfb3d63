"""`prepare`, `embed`, `encode_audio` and recorded events read a file alike, and refuse it alike."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from audio_files import (
    TAG_V1,
    encoded,
    flac_in_ogg,
    mp3_frames,
    noise,
    ogg_pages,
    replaced,
    resigned,
)

from supclap.config import ModelConfig
from supclap.data.clips import Collection
from supclap.data.decode import decode
from supclap.data.prepare import prepare
from supclap.data.soundscenes.recorded import decode_bank
from supclap.data.soundscenes.recordings import Recording
from supclap.embedding import embed_folder
from supclap.errors import InputError
from supclap.model.clap import build_model

SMALL = {
    "audio": {"width": 8, "layers": 3},
    "text": {"width": 32, "layers": 1, "vocabulary": 300},
    "dim": 16,
}


def odd_files() -> dict[str, tuple[bytes, float]]:
    """Files as others leave them, and how long each one's sound is, in seconds."""
    loud_then_soft = noise(4, 44_100) * np.repeat([1, 0.01], 2 * 44_100)[:, None]
    variable = encoded(
        loud_then_soft, 44_100, "MP3", bitrate_mode="VARIABLE", compression_level=0.3
    )
    frames = mp3_frames(variable, 44_100)[1:]
    flac = encoded(noise(3, 22_050), 22_050, "FLAC")
    unknown = replaced(replaced(flac, 21, bytes([flac[21] & 0xF0]) + bytes(4)), 26, bytes(16))
    vorbis = encoded(noise(2, 16_000), 16_000, "OGG", "VORBIS")
    *pages, last = ogg_pages(vorbis)
    wav = encoded(noise(2, 16_000), 16_000, "WAV", "PCM_16")
    return {
        "bare.mp3": (b"".join(frames), len(frames) * 1152 / 44_100),
        "tagged.flac": (unknown + TAG_V1, 3.0),
        "chain.ogg": (vorbis + encoded(noise(1, 44_100), 44_100, "OGG", "VORBIS"), 3.0),
        "stopped.ogg": (b"".join(pages) + resigned(replaced(last, 5, b"\0")), 2.0),
        "flac.oga": (b"".join(flac_in_ogg(flac)), 3.0),
        "gsm.wav": (encoded(noise(2, 8000), 8000, "WAV", "GSM610"), 2.0),
        "pipe.wav": (replaced(wav, wav.index(b"data") + 4, bytes(4)), 2.0),
        "other.aifc": (encoded(noise(2, 16_000), 16_000, "AIFF"), 2.0),
    }


def bad_files() -> dict[str, bytes]:
    y = noise(1, 44_100)
    wav = encoded(y, 44_100, "WAV", "PCM_16")
    return {
        "inverted.wav": encoded(np.concatenate([y, -y], axis=1), 44_100, "WAV", "PCM_16"),
        "fast.wav": replaced(wav, 24, (100_000_000).to_bytes(4, "little")),
        "cut.wav": wav[:-1000],
        "short.mp3": encoded(y, 44_100, "MP3")[:-200],
        "torn.ogg": encoded(y, 44_100, "OGG")[:-1],
    }


@pytest.mark.heavy
def test_odd_files_are_read_alike_and_bad_ones_refused_alike(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    good, bad = odd_files(), bad_files()
    for name, (data, _) in good.items():
        (sounds / name).write_bytes(data)
    for name, data in bad.items():
        (sounds / name).write_bytes(data)
    with open(sounds / "captions.csv", "w", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption"), *((n, n) for n in (*good, *bad))])

    prepare("captions", sounds, tmp_path / "out", max_loss=0.5)
    clips = Collection(tmp_path / "out").split("train")
    assert list(clips.sources) == list(good)
    for clip in clips:
        assert len(clip.audio) == pytest.approx(16_000 * good[clip.source][1], abs=1), clip.source
        assert np.array_equal(clip.audio, decode(sounds / clip.source))

    model = build_model(ModelConfig.model_validate(SMALL), ["a dog", "rain"], 5.0, 0)
    report = embed_folder(model, sounds, tmp_path / "index.parquet")
    assert report.files == len(good)
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "index.parquet").to_pylist()}
    direct = model.encode_audio([sounds / name for name in good])
    prepared = model.encode_audio([clip.audio for clip in clips])
    for number, clip in enumerate(clips):
        row = rows[clip.source]
        assert row["end"] == len(clip.audio) / 16_000
        assert np.array(row["embedding"]) == pytest.approx(prepared[number], abs=1e-5)
        assert direct[number] == pytest.approx(prepared[number], abs=1e-5)

    with open(tmp_path / "out" / "skipped.csv", newline="", encoding="utf-8") as file:
        reasons = {line["file"]: line["reason"] for line in csv.DictReader(file)}
    assert reasons == dict(report.skipped)
    assert sorted(reasons) == sorted(bad)
    for name, reason in reasons.items():
        with pytest.raises(InputError) as one:
            model.encode_audio(sounds / name)
        assert str(one.value) == f"{sounds / name}: {reason}"
        recording = Recording("dog", "train", sounds / name, "row 1")
        with pytest.raises(InputError) as other:
            decode_bank([recording], tmp_path / "bank", workers=1)
        assert reason in str(other.value)


@pytest.mark.heavy
def test_what_a_decoder_may_not_know_does_not_change_what_it_gives(tmp_path: Path) -> None:
    """The second half of a file is the same sound, whatever lies before it: nothing is sought."""
    for kind, subtype in [("WAV", "MS_ADPCM"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")]:
        path = tmp_path / f"{kind}-{subtype}"
        soundfile.write(path, noise(80, 16_000), 16_000, format=kind, subtype=subtype)
        whole, _ = soundfile.read(path, dtype="float32")
        found = decode(path) / 32_768
        assert len(found) == len(whole)
        assert np.abs(found - whole.clip(-1, 1)).max() < 1e-4

"""Decoding: every format, any rate, and each way in which a file can be no sound."""

import io
import os
import socket
import struct
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
from waiting import PATIENCE

import supclap.data.decode as module
from supclap.data.decode import decode
from supclap.data.faults import Silent, Unreadable
from supclap.data.resampling import resample

FORMATS = [
    ("wav", "WAV", "PCM_16", 44100),
    ("wav", "WAV", "PCM_U8", 8000),
    ("wav", "WAV", "FLOAT", 48000),
    ("flac", "FLAC", "PCM_24", 96000),
    ("ogg", "OGG", "VORBIS", 22050),
    ("opus", "OGG", "OPUS", 48000),
    ("mp3", "MP3", "MPEG_LAYER_III", 32000),
    ("aiff", "AIFF", "PCM_16", 11025),
    ("au", "AU", "ULAW", 8000),
    ("w64", "W64", "PCM_16", 16000),
    ("caf", "CAF", "PCM_16", 44100),
    ("rf64", "RF64", "PCM_16", 44100),
]


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def strength(sound: np.ndarray, hertz: float) -> float:
    """Amplitude of one frequency in the middle of a sound at 16 kHz."""
    middle = sound[4000:12000].astype(float) * np.hanning(8000)
    wave = np.exp(-2j * np.pi * hertz * np.arange(8000) / 16000)
    return float(2 * abs(np.sum(middle * wave)) / np.hanning(8000).sum())


@pytest.mark.parametrize(("suffix", "kind", "subtype", "rate"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_becomes_16_khz_mono(
    tmp_path: Path, suffix: str, kind: str, subtype: str, rate: int, channels: int
) -> None:
    path = tmp_path / f"x.{suffix}"
    # The right channel is the louder one: the mean must hear both.
    sound = np.stack([tone(rate, level=0.2), tone(rate, level=0.6)][:channels], axis=1)
    soundfile.write(path, sound, rate, format=kind, subtype=subtype)
    found = decode(path)
    assert found.dtype == np.int16
    slack = 1600 if suffix in ("mp3", "opus") else 0  # codecs pad
    assert abs(len(found) - 16000) <= slack
    expected = 0.2 if channels == 1 else 0.4
    assert strength(found, 440) / 32768 == pytest.approx(expected, rel=0.05)


def test_16_khz_mono_int16_is_kept_bit_by_bit(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).integers(-32768, 32768, 40_001).astype(np.int16)
    soundfile.write(tmp_path / "x.flac", sound, 16000, subtype="PCM_16")
    assert np.array_equal(decode(tmp_path / "x.flac"), sound)
    assert np.array_equal(decode(tmp_path / "x.flac", seconds=2), sound[:32000])
    assert np.array_equal(decode(tmp_path / "x.flac", seconds=60), sound)


@pytest.mark.parametrize("rate", [8000, 11025, 16001, 22050, 44099, 44100, 48000, 96000])
def test_resampling_gives_the_same_waveform_at_other_times(rate: int) -> None:
    """A sum of tones is known at any time: no other resampler is needed as the truth."""
    rng = np.random.default_rng(rate)
    highest = 0.9 * min(rate, 16000) / 2
    hertz, phases = rng.uniform(50, highest, 20), rng.uniform(0, 2 * np.pi, 20)

    def at(times: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * np.outer(times, hertz) + phases).mean(axis=1)

    found = resample(at(np.arange(2 * rate + 7) / rate).astype(np.float32), rate)
    assert len(found) == -(-(2 * rate + 7) * 16000 // rate)
    expected = at(np.arange(len(found)) / 16000)
    assert np.abs(found - expected)[2000:-2000].max() < 1e-4


def test_resampling_agrees_with_a_polyphase_filter() -> None:
    signal = pytest.importorskip("scipy.signal")
    noise = np.random.default_rng(0).standard_normal(44100)
    low = signal.sosfiltfilt(signal.butter(8, 6000, fs=44100, output="sos"), noise)
    found = resample(low.astype(np.float32), 44100)
    expected = signal.resample_poly(low, 160, 441, window=("kaiser", 12.0))
    assert np.abs(found - expected)[500:-500].max() < 0.01 * np.abs(expected).max()


def test_nothing_folds_back() -> None:
    folded = resample(tone(48000, hertz=11_000).astype(np.float32), 48000)
    assert strength(folded, 5_000) < 1e-5
    assert np.abs(folded[2000:-2000]).max() < 1e-4


def test_blocks_leave_no_seam() -> None:
    """65 s are resampled in three blocks: the same as in one transform of the whole."""
    sound = np.random.default_rng(0).standard_normal(65 * 22050).astype(np.float32)
    blocks = resample(sound, 22050)
    spectrum = np.fft.rfft(np.concatenate([sound, np.zeros(22050)]))[: 66 * 8000 + 1]
    place = np.clip((np.arange(len(spectrum)) / (66 * 8000) - 0.95) / 0.05, 0, 1)
    whole = np.fft.irfft(spectrum * (0.5 + 0.5 * np.cos(np.pi * place)), n=66 * 16000)
    whole *= 16000 / 22050
    # Away from the ends, where a circular transform hears the beginning behind the end.
    assert np.abs(blocks - whole[: len(blocks)])[8000:-8000].max() < 1e-5


@pytest.mark.parametrize(("suffix", "kind", "subtype", "rate"), FORMATS)
@pytest.mark.parametrize("share", [0.95, 0.5, 0.0])
def test_truncated_files_are_refused(
    tmp_path: Path, suffix: str, kind: str, subtype: str, rate: int, share: float
) -> None:
    whole = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).standard_normal(rate * 3)
    soundfile.write(whole, noise, rate, format=kind, subtype=subtype)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
    reason = "0 bytes" if share == 0 else "truncated|not decodable"
    with pytest.raises(Unreadable, match=reason):
        decode(path)


def test_a_stream_of_unknown_length_is_not_truncated(tmp_path: Path) -> None:
    """A wav written into a pipe carries the greatest length there is."""
    whole = io.BytesIO()
    soundfile.write(whole, tone(16000), 16000, format="WAV", subtype="PCM_16")
    raw = bytearray(whole.getvalue())
    raw[4:8] = raw[raw.index(b"data") + 4 : raw.index(b"data") + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(raw)
    assert len(decode(tmp_path / "x.wav")) == 16000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_with_their_place(
    tmp_path: Path, bad: float
) -> None:
    sound = tone(16000)
    sound[4000] = bad
    soundfile.write(tmp_path / "x.wav", sound, 16000, subtype="FLOAT")
    with pytest.raises(Unreadable, match=r"NaN or infinite samples, the first at 0.250 s"):
        decode(tmp_path / "x.wav")


def test_loud_float_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([2.0, -2.0, 0.5]), 16000, subtype="FLOAT")
    assert decode(tmp_path / "x.wav").tolist() == [32767, -32768, 16384]


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "zeros.flac", np.zeros(44100), 44100)
    (tmp_path / "text.wav").write_text("this is no sound")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    for name, reason in [
        ("none.wav", "holds no samples"),
        ("text.wav", "not decodable"),
        ("film.mp4", "no format libsndfile reads.*transcode"),
        ("absent.wav", "cannot be read: No such file"),
    ]:
        with pytest.raises(Unreadable, match=reason):
            decode(tmp_path / name)
    with pytest.raises(Silent, match="digital silence"):
        decode(tmp_path / "zeros.flac")


# Numbers of a header that cannot be


def wav(rate: int, channels: int, samples: bytes) -> bytes:
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels % 2**32, 2 * channels, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", len(body) + len(samples)) + body + samples


_MEASURED = """
import resource, sys
from pathlib import Path
import supclap.data.decode as module
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(len(module.decode(Path(sys.argv[1]))))
except module.Unreadable as fault:
    print(fault)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def measured(path: Path) -> tuple[str, int]:
    """What `decode` says of a file in a process of its own, and how many MiB it took."""
    command = [sys.executable, "-c", _MEASURED, str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    said, memory = answer.stdout.splitlines()
    return said, int(memory)


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [1, 99, 1_000_001, 100_000_000, 2**31 - 1, 2**32 - 1])
def test_a_rate_that_cannot_be_is_refused_in_little_memory(tmp_path: Path, rate: int) -> None:
    noise = np.random.default_rng(0).integers(-9999, 9999, 16_000).astype("<i2").tobytes()
    (tmp_path / "x.wav").write_bytes(wav(rate, 1, noise))
    said, memory = measured(tmp_path / "x.wav")
    assert "samples a second; expected 100 to 1,000,000" in said or "not decodable" in said
    assert memory < 50


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [100, 384_000, 655_350, 1_000_000])
def test_rates_at_the_bounds_are_read(tmp_path: Path, rate: int) -> None:
    sound = (8000 * np.sin(2 * np.pi * 20 * np.arange(2 * rate) / rate)).astype("<i2")
    (tmp_path / "x.wav").write_bytes(wav(rate, 1, sound.tobytes()))
    said, memory = measured(tmp_path / "x.wav")
    assert said == "32000"
    assert memory < 300
    found = decode(tmp_path / "x.wav")
    assert np.abs(np.fft.rfft(found)).argmax() == 40  # 20 Hz in two seconds


@pytest.mark.heavy
def test_a_thousand_channels_are_read_in_little_memory(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).integers(-9999, 9999, 1024 * 4000).astype("<i2")
    (tmp_path / "x.wav").write_bytes(wav(16_000, 1024, sound.tobytes()))
    said, memory = measured(tmp_path / "x.wav")
    assert said == "4000"
    assert memory < 200  # 30 s of it would be 2 GB
    for channels in (0, 1025, 65_535):
        (tmp_path / "x.wav").write_bytes(wav(16_000, channels % 2**15, sound.tobytes()))
        with pytest.raises(Unreadable, match="not decodable"):
            decode(tmp_path / "x.wav")


@pytest.mark.heavy
def test_a_small_file_of_endless_sound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 3600)
    hum = np.full(16_000 * 3700, 0.1)
    hum[0] = 0
    soundfile.write(tmp_path / "x.flac", hum, 16_000)
    assert (tmp_path / "x.flac").stat().st_size < 400_000
    with pytest.raises(Unreadable, match="is longer than 1 hours; cut it into parts"):
        decode(tmp_path / "x.flac")
    assert len(decode(tmp_path / "x.flac", seconds=10)) == 160_000


# Channels that cancel


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_inverted_channels_are_no_silence(tmp_path: Path, rate: int, subtype: str) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, rate)
    dc = np.full(rate, 0.05)
    for channels in (
        [y, -y],
        [y + dc, dc - y],
        [y, -y, y, -y],
        [y, 0.5 * y, -1.5 * y],
        [y, -y + 1e-4 * np.roll(y, 7)],
    ):
        soundfile.write(tmp_path / "x.wav", np.stack(channels, 1), rate, subtype=subtype)
        with pytest.raises(Unreadable, match="its channels cancel") as fault:
            decode(tmp_path / "x.wav")
        assert not isinstance(fault.value, Silent)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [
        *(("MP3", None, rate) for rate in (16_000, 22_050, 44_100)),
        *(("OGG", "VORBIS", rate) for rate in (44_100, 48_000, 96_000)),
        *(("OGG", "OPUS", rate) for rate in (16_000, 48_000)),
    ],
)
def test_inverted_channels_are_found_behind_a_codec(
    tmp_path: Path, kind: str, subtype: str | None, rate: int
) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(0, 1, rate))
    y = np.fft.irfft(spectrum / (20 + np.arange(len(spectrum))), rate)  # as most sounds: 1/f
    y *= 0.7 / np.abs(y).max()
    for gain in (1.0, 0.95):
        sound = np.stack([y, -gain * y], 1)
        soundfile.write(tmp_path / "x", sound, rate, format=kind, subtype=subtype)
        with pytest.raises(Unreadable, match="its channels cancel"):
            decode(tmp_path / "x")
    later = np.stack([y[5:], -y[:-5]], 1)
    soundfile.write(tmp_path / "x", later, rate, format=kind, subtype=subtype)
    assert len(decode(tmp_path / "x"))


@pytest.mark.parametrize("others", [0, 1, 15, 63])
def test_the_bound_is_20_dB_below_unrelated_channels(tmp_path: Path, others: int) -> None:
    """Of z and -z + a z, with so many silent channels beside them: a^2 / (1 + (1 - a)^2)."""
    z = np.random.default_rng(1).normal(0, 0.1, 16_000)
    for below, cancel in ((19.9, False), (20.1, True)):
        share = 10 ** (-below / 10)
        a = (-share + (2 * share - share**2) ** 0.5) / (1 - share)  # the positive root
        assert a**2 / (1 + (1 - a) ** 2) == pytest.approx(share)
        sound = np.stack([z, (a - 1) * z, *[np.zeros_like(z)] * others], 1)
        soundfile.write(tmp_path / "x.wav", sound, 16_000, subtype="FLOAT")
        with pytest.raises(Unreadable, match="cancel") if cancel else nullcontext():
            decode(tmp_path / "x.wav")
    alone = np.stack([z, *[np.zeros_like(z)] * (others + 1)], 1)
    soundfile.write(tmp_path / "x.wav", alone + 0.2, 16_000, subtype="FLOAT")
    assert len(decode(tmp_path / "x.wav")) == 16_000


def test_channels_that_cancel_in_part_are_their_mean(tmp_path: Path) -> None:
    y, z = tone(16_000), tone(16_000, hertz=900, level=0.1)
    nothing = np.zeros_like(y)
    for channels, hertz, expected in [
        ([y, -0.8 * y], 440, 0.05),
        ([y, -0.5 * y], 440, 0.125),
        ([y, nothing], 440, 0.25),
        ([y, *[nothing] * 7], 440, 0.0625),
        ([y + z, z - y], 900, 0.1),
    ]:
        soundfile.write(tmp_path / "x.wav", np.stack(channels, 1), 16_000, subtype="FLOAT")
        found = decode(tmp_path / "x.wav")
        assert strength(found, hertz) / 32_768 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("channels", [[0.25], [0.25, -0.1], [0.0, 0.0], [0.5, -0.5]])
def test_nothing_that_moves_is_silence(tmp_path: Path, channels: list[float]) -> None:
    sound = np.tile(channels, (44_100, 1))
    soundfile.write(tmp_path / "x.wav", sound, 44_100)
    with pytest.raises(Silent, match=r"every sample is (zero|the same)"):
        decode(tmp_path / "x.wav")


# What is no file


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    here = socket.socket(socket.AF_UNIX)
    here.bind(str(tmp_path / "socket.wav"))
    for name, reason in [
        ("pipe.wav", "is a named pipe, not a file"),
        ("gone.wav", "is a link to a file that is not there"),
        ("loop.wav", "cannot be read: Too many levels of symbolic links"),
        ("folder.wav", "is a folder, not a file"),
        ("device.wav", "is a device, not a file"),
        ("socket.wav", "is a socket, not a file"),
    ]:
        with pytest.raises(Unreadable, match=reason):
            decode(tmp_path / name)
    here.close()


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"two\nlines.wav", b"x.raw", b"x.txt", b"x"])
def test_the_name_of_a_file_does_not_matter(tmp_path: Path, name: bytes) -> None:
    soundfile.write(tmp_path / "x.wav", tone(16_000), 16_000)
    os.rename(tmp_path / "x.wav", os.fsencode(tmp_path) + b"/" + name)
    assert len(decode(tmp_path / os.fsdecode(name))) == 16_000

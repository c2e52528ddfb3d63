"""Files as other programs leave them: streams of unknown or wrong length, joined, tagged, cut."""

import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import (
    APE,
    LYRICS,
    TAG_V1,
    TAG_V2,
    encoded,
    flac_in_ogg,
    mp3_frames,
    noise,
    ogg_page,
    ogg_pages,
    promising,
    replaced,
    resigned,
)

from supclap.data.decode import decode
from supclap.data.faults import Unreadable


def read(path: Path, data: bytes, seconds: float | None = None) -> np.ndarray:
    path.write_bytes(data)
    return decode(path, seconds)


def is_beginning(part: np.ndarray, whole: np.ndarray) -> bool:
    """Equal but for rounding, and the end, where a resampling filter hears what comes behind."""
    difference = part.astype(int) - whole[: len(part)]
    return len(part) < len(whole) and np.abs(difference[:-1600]).max() <= 2


def pairs() -> list[tuple[str, str]]:
    """Every format with a header and every subtype of it that libsndfile says it can write."""
    return [
        (kind, subtype)
        for kind in soundfile.available_formats()
        for subtype in soundfile.available_subtypes(kind)
        if kind != "RAW" and soundfile.check_format(kind, subtype)
    ]


# It says so, and then it cannot.
UNWRITABLE = {("AIFF", "DWVW_12"), ("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II")} | {
    ("WAV", "MPEG_LAYER_III")
}
# Their headers hold no number of samples: what is left of such a file is a whole one.
UNCOUNTED = ("PAF", "PVF", "SD2", "IRCAM", "XI")


@pytest.mark.heavy
def test_every_pair_of_format_and_subtype_is_read_to_its_end(tmp_path: Path) -> None:
    read_pairs = set()
    for kind, subtype in pairs():
        path = tmp_path / f"{kind}-{subtype}"
        tone = 0.5 * np.sin(2 * np.pi * 400 * np.arange(16_000) / 8000)
        try:
            soundfile.write(path, tone, 8000, format=kind, subtype=subtype)
        except soundfile.LibsndfileError:
            continue
        rate = soundfile.info(path).samplerate  # a few formats know one rate only
        sound = decode(path)
        assert abs(len(sound) - 16_000 * 16_000 / rate) <= 600, path.name  # codecs pad
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        hertz = spectrum.argmax() * 16_000 / len(sound)
        assert hertz == pytest.approx(400 * rate / 8000, abs=2), path.name
        assert np.abs(sound[1000:-1000]).max() == pytest.approx(16_384, rel=0.15), path.name
        # With a limit too: no codec needs to seek.
        assert len(decode(path, seconds=0.5)) == min(8000, len(sound)), path.name
        read_pairs.add((kind, subtype))
    assert {("WAV", "GSM610"), ("AU", "G721_32"), ("XI", "DPCM_16"), ("SD2", "PCM_16")} < read_pairs
    assert set(pairs()) - read_pairs <= UNWRITABLE


@pytest.mark.heavy
def test_half_of_a_file_is_refused_wherever_its_header_counts(tmp_path: Path) -> None:
    for kind, subtype in pairs():
        path = tmp_path / f"{kind}-{subtype}"
        try:
            soundfile.write(path, noise(2, 8000), 8000, format=kind, subtype=subtype)
        except soundfile.LibsndfileError:
            continue
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if kind in UNCOUNTED:
            assert decode(path).any(), path.name
            continue
        with pytest.raises(Unreadable, match=r"truncated|not decodable"):
            decode(path)


# MP3


@pytest.mark.heavy
def test_an_mp3_of_varying_rate_without_a_header_is_read_to_its_end(tmp_path: Path) -> None:
    soft = 0.01 * np.sin(2 * np.pi * 300 * np.arange(6 * 44_100) / 44_100)
    sound = np.concatenate([2 * noise(6, 44_100)[:, 0], soft])
    whole = encoded(sound, 44_100, "MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    frames = mp3_frames(whole, 44_100)[1:]
    found = read(tmp_path / "x.mp3", b"".join(frames))
    assert len(found) == -(-len(frames) * 1152 * 16_000 // 44_100)
    assert len(found) / 16_000 == pytest.approx(12.04, abs=0.01)
    end = found[-48_000:-16_000] / 32_768
    spectrum = np.abs(np.fft.rfft(end))
    assert spectrum.argmax() / 2 == pytest.approx(300, abs=1)
    assert is_beginning(decode(tmp_path / "x.mp3", seconds=9), found)
    assert not [one for one in threading.enumerate() if one.name == "decode"]


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_the_frames_of_an_mp3_are_its_length(tmp_path: Path, rate: int, mode: str) -> None:
    options = {"bitrate_mode": mode, "compression_level": 0.3}
    sound = noise(5, rate) * np.repeat([1, 0.001], [2 * rate, 3 * rate])[:, None]
    whole = encoded(sound, rate, "MP3", **options)
    path = tmp_path / "x.mp3"
    assert len(read(path, whole)) == 80_000  # its tag says where the encoder's padding ends
    tag, *frames = mp3_frames(whole, rate)
    samples = 1152 if rate >= 32_000 else 576

    def length(count: int) -> int:
        return -(-count * samples * 16_000 // rate)

    bare = b"".join(frames)
    for data, count in [
        (bare, len(frames)),
        (bare + TAG_V1, len(frames)),
        (TAG_V2 + bare + APE + LYRICS + TAG_V1, len(frames)),
        (bare + bytes(5000), len(frames)),
        (bare + b"".join(frames[:-1]) + frames[-1][:-5], 2 * len(frames) - 1),
        (bare + TAG_V1 + TAG_V2 + bare, 2 * len(frames)),
        (promising(tag, len(frames) // 2) + bare, len(frames)),  # an editor that joined files
        (promising(tag, 0) + bare, len(frames)),
    ]:
        assert abs(len(read(path, data)) - length(count)) <= 1
    assert len(read(path, whole + whole)) == 160_000
    with pytest.raises(Unreadable, match=r"truncated: [\d,]+ of the [\d,]+ frames"):
        read(path, tag + b"".join(frames[: len(frames) // 2]))
    with pytest.raises(Unreadable, match=r"truncated: [\d,]+ of the [\d,]+ frames"):
        read(path, whole[:-3])
    with pytest.raises(Unreadable, match=r"of the 4,294,967,295 frames"):
        read(path, promising(tag, 2**32 - 1) + bare)


def test_mp3_files_of_several_kinds_that_were_joined(tmp_path: Path) -> None:
    one = encoded(noise(1, 44_100), 44_100, "MP3")
    two = encoded(noise(2, 16_000, channels=2), 16_000, "MP3")
    assert len(read(tmp_path / "x.mp3", one + TAG_V1 + TAG_V2 + two)) == 48_000


def test_mp3_sound_behind_other_bytes_is_found_by_its_name(tmp_path: Path) -> None:
    whole = encoded(noise(1, 44_100), 44_100, "MP3")
    assert len(read(tmp_path / "x.mp3", bytes(3000) + whole)) == 16_000
    assert len(read(tmp_path / "x.bin", TAG_V2 + bytes(3000) + whole)) == 16_000


# Ogg


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_that_were_joined_are_all_read(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "x.ogg"
    one = encoded(noise(2, 16_000), 16_000, "OGG", subtype)
    two = encoded(noise(1, 48_000, channels=2), 48_000, "OGG", subtype)
    three = encoded(noise(0.5, 22_050), 22_050, "OGG", "VORBIS")
    flac = b"".join(flac_in_ogg(encoded(noise(1, 16_000), 16_000, "FLAC")))
    alone = [read(path, data) for data in (one, two, three, flac)]
    assert [len(sound) for sound in alone] == [32_000, 16_000, 8000, 16_000]
    assert len(read(path, one + one)) == 64_000
    found = read(path, TAG_V2 + one + two + three + flac + TAG_V1)
    assert len(found) == 72_000
    assert np.abs(found[:31_000] - alone[0][:31_000]).max() <= 1
    assert np.array_equal(found[-16_000:], alone[3])
    assert len(decode(path, seconds=2.5)) == 40_000


@pytest.mark.heavy
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_stream_that_was_stopped_is_read(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "x.ogg"
    whole = encoded(noise(20, 16_000), 16_000, "OGG", subtype)
    sound = read(path, whole)
    *pages, last = ogg_pages(whole)
    unmarked = resigned(replaced(last, 5, bytes([last[5] & ~4])))
    assert np.array_equal(read(path, b"".join(pages) + unmarked), sound)
    # Without its last page it is a shorter stream; nothing in it says that there was more.
    shorter = read(path, b"".join(pages))
    assert 0.8 * len(sound) < len(shorter) < len(sound)
    assert np.array_equal(shorter, sound[: len(shorter)])
    # The beginning of a broadcast's record: the headers, then the pages of that moment.
    late = read(path, b"".join(pages[:2] + pages[8:]) + last)
    assert 0.3 * len(sound) < len(late) < 0.9 * len(sound)


@pytest.mark.heavy
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_damage_in_an_ogg_stream_is_named(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "x.ogg"
    pages = ogg_pages(encoded(noise(20, 16_000), 16_000, "OGG", subtype))
    bad = bytearray(pages[5])
    bad[100] ^= 1
    at = sum(map(len, pages[:5]))
    for damaged, reason in [
        ([*pages[:5], bytes(bad), *pages[6:]], f"checksum of the Ogg page at byte {at:,}"),
        ([*pages[:5], *pages[6:]], "damaged: the Ogg stream goes from page 4 to 6"),
        ([*pages[:-1], pages[-1][:-1]], "truncated: the last page of the Ogg stream is cut off"),
        ([*pages[:-1], pages[-1][:20]], "truncated: the last page of the Ogg stream is cut off"),
        (pages[3:], "the beginning of the Ogg stream is missing"),
        ([*pages[:5], b"junk", *pages[5:]], f"at byte {at:,} there is no page"),
    ]:
        with pytest.raises(Unreadable, match=reason):
            read(path, b"".join(damaged))


def test_sound_beside_other_streams_in_ogg(tmp_path: Path) -> None:
    film = [ogg_page(b"\x80theora" + bytes(30), 77, 0, 0, 2), ogg_page(bytes(200), 77, 1, 9, 4)]
    sound = encoded(noise(2, 16_000), 16_000, "OGG", "VORBIS")
    first, *others = ogg_pages(sound)
    mixed = [film[0], first, *others[:2], film[1], *others[2:]]
    path = tmp_path / "x.ogg"
    assert np.array_equal(read(path, b"".join(mixed)), read(path, sound))
    with pytest.raises(Unreadable, match=r"without Vorbis, Opus or FLAC \(found: Theora\)"):
        read(path, b"".join(film))


@pytest.mark.heavy
def test_flac_in_ogg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.oga"
    native = encoded(noise(3, 16_000), 16_000, "FLAC", "PCM_16")
    sound = read(path, native)
    pages = flac_in_ogg(native)
    assert np.array_equal(read(path, b"".join(pages)), sound)
    assert np.array_equal(read(path, b"".join(flac_in_ogg(unknown_length(native)))), sound)
    with pytest.raises(Unreadable, match=r"truncated: .* of 3.00 s are there"):
        read(path, b"".join(pages[:-3]))


# FLAC


def unknown_length(native: bytes) -> bytes:
    """STREAMINFO's number of samples and MD5 zero, as an encoder leaves it in a pipe."""
    native = replaced(native, 21, bytes([native[21] & 0xF0]) + bytes(4))
    return replaced(native, 26, bytes(16))


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_flac_of_unknown_length_tagged_and_joined(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "x.flac"
    native = encoded(noise(3, rate), rate, "FLAC", "PCM_16")
    sound = read(path, native)
    assert len(sound) == 48_000
    for known in (native, unknown_length(native)):
        for data in (known, TAG_V2 + known, known + TAG_V1, known + APE + TAG_V1):
            assert np.array_equal(read(path, data), sound)
        assert len(read(path, known + native)) == 96_000
        with pytest.raises(Unreadable, match="truncated"):
            read(path, known[: len(known) // 2])
    assert np.array_equal(read(path, native + bytes(1000)), sound)
    assert is_beginning(decode(path, seconds=1), sound)


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_flac_header_that_counts_too_few_cuts_nothing(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = tmp_path / "x.flac"
    for seconds in (0.3, 20):
        native = encoded(noise(seconds, rate, channels), rate, "FLAC", "PCM_16")
        sound = read(path, native)
        assert len(sound) == round(16_000 * seconds)
        for count in (1, round(rate * seconds) // 2, round(rate * seconds) - 1):
            short = replaced(native, 21, bytes([native[21] & 0xF0]) + count.to_bytes(4, "big"))
            assert np.array_equal(read(path, short), sound)
            assert np.array_equal(read(path, short + TAG_V1), sound)
        long = replaced(native, 21, bytes([native[21] & 0xF0]) + (2 * rate * 20).to_bytes(4, "big"))
        with pytest.raises(Unreadable, match=r"truncated: .* s are there"):
            read(path, long)


# Formats whose header tells the length


def header(data: bytes, mark: bytes) -> int:
    return data.index(mark) + len(mark)


LITTLE_UNKNOWN = [0, 2**32 - 1, 2**32 - 2, 2**31 - 1, 2**31, 2**31 - 4096]


@pytest.mark.parametrize("length", LITTLE_UNKNOWN)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_wav_of_unknown_length_is_read(tmp_path: Path, kind: str, length: int) -> None:
    path = tmp_path / "x.wav"
    whole = encoded(noise(1, 16_000), 16_000, kind, "PCM_16")
    data = replaced(whole, header(whole, b"data"), struct.pack("<I", length))
    sound = read(path, whole)
    assert np.array_equal(read(path, data), sound)
    assert np.array_equal(read(path, replaced(data, 4, struct.pack("<I", length))), sound)


def test_a_wav_without_samples_has_none(tmp_path: Path) -> None:
    whole = encoded(noise(1, 16_000), 16_000, "WAV", "PCM_16")
    empty = whole[: header(whole, b"data")] + bytes(4)
    for data in (empty, empty + b"LIST\x04\0\0\0INFO", empty + b"LIST\x05\0\0\0INFO1\0"):
        with pytest.raises(Unreadable, match="holds no samples"):
            read(tmp_path / "x.wav", data)


@pytest.mark.parametrize("length", [0, 24, 2**63 - 1, 2**64 - 1])
def test_formats_with_long_fields_of_unknown_length(tmp_path: Path, length: int) -> None:
    for kind, mark, skip, order, fix in [
        ("RF64", b"ds64", 12, "<Q", 0),
        ("W64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 0, "<Q", 24),
        ("CAF", b"data", 0, ">Q", 4),
    ]:
        if length == 24 and kind != "W64":  # which counts the chunk's own head
            continue
        whole = encoded(noise(1, 16_000), 16_000, kind, "PCM_16")
        at = header(whole, mark) + skip
        assert struct.unpack_from(order, whole, at)[0] == 32_000 + fix, kind
        sound = read(tmp_path / "x", whole)
        found = read(tmp_path / "x", replaced(whole, at, struct.pack(order, length)))
        assert np.array_equal(found, sound), kind


@pytest.mark.parametrize("length", [0, 8, 2**31 - 1, 2**32 - 1])
def test_aiff_and_au_of_unknown_length(tmp_path: Path, length: int) -> None:
    whole = encoded(noise(1, 16_000), 16_000, "AIFF", "PCM_16")
    sound = read(tmp_path / "x.aifc", whole)
    data = replaced(whole, header(whole, b"SSND"), struct.pack(">I", length))
    assert np.array_equal(read(tmp_path / "x.aifc", data), sound)
    data = replaced(data, header(data, b"COMM") + 6, bytes(4))
    assert np.array_equal(read(tmp_path / "x.aifc", data), sound)
    if length != 8:
        whole = encoded(noise(1, 16_000), 16_000, "AU", "PCM_16")
        assert np.array_equal(
            read(tmp_path / "x", replaced(whole, 8, struct.pack(">I", length))), sound
        )


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "SVX"])
def test_files_with_a_header_that_were_joined_cut_or_tagged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    one = encoded(noise(1, 16_000), 16_000, kind, "PCM_16")
    two = encoded(noise(1, 22_050, seed=1), 22_050, kind, "PCM_16")
    sound = read(path, one)
    assert len(sound) == 16_000
    assert np.array_equal(read(path, one + TAG_V1), sound)
    assert np.array_equal(read(path, TAG_V2 + one), sound)
    joined = read(path, one + two)
    assert len(joined) == 32_000
    assert np.array_equal(joined[:16_000], sound)
    for cut in (one[:-2], one[:-1000], one + two[:-1000]):
        with pytest.raises(Unreadable, match=r"truncated: (\d+ %|\d+%|only a little)"):
            read(path, cut)


def test_bw64_is_rf64_under_another_name(tmp_path: Path) -> None:
    whole = encoded(noise(1, 16_000), 16_000, "RF64", "PCM_16")
    assert np.array_equal(
        read(tmp_path / "x.wav", b"BW64" + whole[4:]), read(tmp_path / "x.wav", whole)
    )

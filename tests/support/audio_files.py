"""Audio files as other programs leave them, written byte by byte."""

import io
import struct
from typing import Any

import numpy as np
import soundfile

TAG_V1 = b"TAG" + bytes(range(125))
TAG_V2 = b"ID3\x04\0\0" + bytes([0, 0, 7, 118]) + b"x" * (7 * 128 + 118)
_LYRICS = b"LYRICSBEGIN" + b"y" * 300
LYRICS = _LYRICS + f"{len(_LYRICS):06d}".encode() + b"LYRICS200"
APE = b"z" * 400 + b"APETAGEX" + struct.pack("<IIIIQ", 2000, 432, 0, 0, 0)


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (round(seconds * rate), channels)
    return np.random.default_rng(seed).normal(0, 0.1, shape).clip(-1, 1)


def encoded(
    sound: np.ndarray, rate: int, kind: str, subtype: str | None = None, **options: Any
) -> bytes:
    whole = io.BytesIO()
    soundfile.write(whole, sound, rate, format=kind, subtype=subtype, **options)
    return whole.getvalue()


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# Ogg


def ogg_pages(data: bytes) -> list[bytes]:
    pages = []
    while data:
        lengths = data[27 : 27 + data[26]]
        size = 27 + len(lengths) + sum(lengths)
        pages.append(data[:size])
        data = data[size:]
    return pages


def checksum(page: bytes) -> int:
    """The CRC of RFC 3533, bit by bit."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
            value &= 0xFFFFFFFF
    return value


def resigned(page: bytes) -> bytes:
    """The page with the checksum that fits its content."""
    blank = replaced(page, 22, bytes(4))
    return replaced(page, 22, struct.pack("<I", checksum(blank)))


def ogg_page(packet: bytes, serial: int, number: int, position: int, marks: int) -> bytes:
    lengths = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    head = struct.pack("<4sBBqIII", b"OggS", 0, marks, position, serial, number, 0)
    return resigned(head + bytes([len(lengths)]) + lengths + packet)


def flac_in_ogg(native: bytes, serial: int = 5) -> list[bytes]:
    """The pages of a native FLAC file in Ogg: a packet for each metadata block and each frame."""
    at, blocks, last = 4, [], False
    while not last:
        size = 4 + int.from_bytes(native[at + 1 : at + 4], "big")
        blocks.append(native[at : at + size])
        last = bool(native[at] & 0x80)
        at += size
    frames = [b"\xff\xf8" + frame for frame in native[at:].split(b"\xff\xf8")[1:]]
    first = b"\x7fFLAC\x01\0" + struct.pack(">H", len(blocks) - 1) + b"fLaC" + blocks[0]
    packets = [first, *blocks[1:], *frames]
    pages = []
    for number, packet in enumerate(packets):
        marks = 2 if number == 0 else 4 if number == len(packets) - 1 else 0
        position = max(0, number + 1 - len(blocks)) * 4096
        pages.append(ogg_page(packet, serial, number, position, marks))
    return pages


# MP3

_KBPS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mp3_frames(data: bytes, rate: int) -> list[bytes]:
    """The layer III frames of a file that holds nothing else."""
    frames, at = [], 0
    while at < len(data):
        kbps, padding = _KBPS[rate >= 32_000][data[at + 2] >> 4], data[at + 2] >> 1 & 1
        size = (144 if rate >= 32_000 else 72) * kbps * 1000 // rate + padding
        frames.append(data[at : at + size])
        at += size
    return frames


def promising(tag: bytes, frames: int) -> bytes:
    """A Xing or Info frame that tells of another number of frames."""
    at = max(tag.find(b"Xing"), tag.find(b"Info"))
    return replaced(tag, at + 8, struct.pack(">I", frames))

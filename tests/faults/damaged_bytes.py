"""Damage valid files: some bytes replaced, dropped or put in between, and half of the time the checksums made right."""

import struct
import zlib
from collections.abc import Callable

from hypothesis import strategies as st

from tests.datasets.archive_files import RAR_SIGNATURE


def mended(data: bytes) -> bytes:
    """The same with the checksums of a PNG, of a tar's or rar's headers made right, as far as one can tell."""
    if data.startswith(b"\x89PNG"):
        return _mended_chunks(data, start=8, size=lambda at: struct.unpack_from(">I", data, at)[0] + 12, crc=_png_crc)
    if data.startswith(RAR_SIGNATURE):
        return _mended_chunks(data, start=len(RAR_SIGNATURE), size=lambda at: _rar_size(data, at), crc=_rar_crc)
    if data[257:262] == b"ustar":
        return b"".join(_tar_block(data[at : at + 512]) for at in range(0, len(data), 512))
    return data


def _mended_chunks(
    data: bytes, start: int, size: Callable[[int], int], crc: Callable[[bytearray, int, int], None]
) -> bytes:
    mending, at = bytearray(data), start
    while at + 12 <= len(data) and at + size(at) <= len(data) and size(at) > 0:
        crc(mending, at, size(at))
        at += size(at)
    return bytes(mending)


def _png_crc(data: bytearray, at: int, size: int) -> None:
    struct.pack_into(">I", data, at + size - 4, zlib.crc32(data[at + 4 : at + size - 4]))


def _rar_size(data: bytes, at: int) -> int:
    kind, _, size = struct.unpack_from("<BHH", data, at + 2)
    return int(size) + (struct.unpack_from("<I", data, at + 7)[0] if kind == 0x74 else 0)


def _rar_crc(data: bytearray, at: int, size: int) -> None:
    head = struct.unpack_from("<H", data, at + 5)[0]
    struct.pack_into("<H", data, at, zlib.crc32(data[at + 2 : at + head]) & 0xFFFF)


def _tar_block(block: bytes) -> bytes:
    if block[257:262] != b"ustar":
        return block
    return block[:148] + b"%06o\0 " % (sum(block[:148] + block[156:]) + 8 * 32) + block[156:]


EDGES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 10**5, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
NUMBERS = [
    number.to_bytes(size, order) for number in EDGES for size in (1, 2, 4, 8) for order in ("little", "big")
    if number < 256**size
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, valid: list[bytes], mend: Callable[[bytes], bytes] = mended) -> bytes:
    """A valid file in which up to six places have other bytes; or just any bytes."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=600))
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 6))):
        end = len(data) if draw(st.booleans()) else min(len(data), 128)  # headers matter most
        at = draw(st.integers(0, end))
        piece = draw(st.one_of(st.binary(max_size=8), st.sampled_from(NUMBERS), st.sampled_from(valid).map(_a_part)))
        dropped = draw(st.sampled_from([len(piece), len(piece), 0, 1, 4, 40, 2**30]))
        data = data[:at] + piece + data[at + dropped :]
    return mend(data) if draw(st.booleans()) else data


def _a_part(data: bytes) -> bytes:
    return data[len(data) // 3 : len(data) // 2][:200]

"""Ogg files that are the same to the byte for the same sound."""

from __future__ import annotations

import zlib

_SERIAL = slice(14, 18)
_CHECKSUM = slice(22, 26)
_HEADER = 27
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_ONES = 0xFFFFFFFF


def fixed_serial(data: bytes, serial: int = 1) -> bytes:
    """Give an Ogg file's only stream a fixed serial number; libsndfile draws one by the clock.

    Source: RFC 3533, section 6 (the page's header and checksum).
    """
    pages = bytearray(data)
    start = 0
    while pages.startswith(b"OggS", start):
        body = start + _HEADER + pages[start + 26]
        end = body + sum(pages[start + _HEADER : body])
        page = pages[start:end]
        page[_SERIAL] = serial.to_bytes(4, "little")
        page[_CHECKSUM] = bytes(4)
        page[_CHECKSUM] = checksum(page).to_bytes(4, "little")
        pages[start:end] = page
        start = end
    return bytes(pages)


def checksum(page: bytes | bytearray) -> int:
    """Give the CRC-32 of polynomial 0x04c11db7 that Ogg uses: bits unreversed, nothing inverted.

    It is zlib's with the bits of every byte, and of the result, the other way round.
    """
    value = zlib.crc32(page.translate(_REVERSED), _ONES) ^ _ONES
    return int(f"{value:032b}"[::-1], 2)

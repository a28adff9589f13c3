"""A small writer for standard MIDI files: enough to drive a General MIDI synthesizer.

Source: "Standard MIDI Files 1.0", MIDI Manufacturers Association (format 0, one track).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

TICKS_PER_QUARTER = 480
QUARTER_IN_US = 500_000
TICKS_PER_SECOND = TICKS_PER_QUARTER * 1_000_000 // QUARTER_IN_US
DRUM_CHANNEL = 9


@dataclass(frozen=True, order=True)
class MidiEvent:
    """One channel message: time in seconds, order among events of the same tick, bytes."""

    at_in_s: float
    order: int
    message: bytes


def note_events(
    channel: int, pitch: int, velocity: int, start_in_s: float, length_in_s: float
) -> list[MidiEvent]:
    """Make the on and off messages of a note; pitch and velocity are 0 to 127."""
    return [
        MidiEvent(start_in_s, 2, bytes((0x90 | channel, pitch, velocity))),
        MidiEvent(start_in_s + length_in_s, 0, bytes((0x80 | channel, pitch, 0))),
    ]


def program_event(channel: int, program: int, at_in_s: float) -> MidiEvent:
    """Choose the instrument (General MIDI program counted from 0) of a channel."""
    return MidiEvent(at_in_s, 1, bytes((0xC0 | channel, program)))


def control_event(channel: int, number: int, value: int, at_in_s: float) -> MidiEvent:
    """Set a controller of a channel (7 volume, 10 pan, 120 all sound off)."""
    return MidiEvent(at_in_s, 0, bytes((0xB0 | channel, number, value)))


def variable_length(value: int) -> bytes:
    """Encode a non-negative integer as MIDI's variable-length quantity."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | (value & 0x7F))
    return bytes(reversed(groups))


def midi_bytes(events: Iterable[MidiEvent], end_in_s: float) -> bytes:
    """Make a whole format-0 file.

    Args:
        events: messages in any order, times in seconds from the start.
        end_in_s: when the track ends, at or after the last event.
    """
    timed = sorted((round(e.at_in_s * TICKS_PER_SECOND), e.order, e.message) for e in events)
    track = bytearray(b"\x00\xff\x51\x03" + QUARTER_IN_US.to_bytes(3, "big"))
    now = 0
    for tick, _, message in timed:
        track += variable_length(tick - now) + message
        now = tick
    track += variable_length(max(0, round(end_in_s * TICKS_PER_SECOND) - now)) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_QUARTER)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)

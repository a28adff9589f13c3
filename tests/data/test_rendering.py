import hashlib
import json
import random
import struct

import numpy as np
import pytest
import soundfile

from soundleap.data.rendering.fluidsynth import fluidsynth_missing, score_events
from soundleap.data.rendering.instruments import INSTRUMENTS
from soundleap.data.rendering.midi import (
    TICKS_PER_SECOND,
    midi_bytes,
    note_events,
    program_event,
    variable_length,
)
from soundleap.data.rendering.music import TEMPOS, compose
from soundleap.data.rendering.music_captions import key_name
from soundleap.data.rendering.noises import MAKERS, make_noise
from soundleap.data.rendering.render import Row, render_corpus, split_of
from soundleap.data.rendering.rooms import finish
from soundleap.data.rendering.signals import NUMBERS, SIGNALS
from soundleap.data.rendering.speech import VOICES, flite_missing, plan_talk
from soundleap.data.rendering.waves import oscillator, shaped_noise, slope
from soundleap.errors import InputError, SoundleapError

RATE = 16_000


def read_length(data, at):
    value = 0
    while True:
        byte = data[at]
        value, at = value << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            return value, at


def read_midi(data):
    """Return the (tick, message) pairs of a format-0 file and the tick of its end."""
    assert data[:4] == b"MThd"
    assert struct.unpack(">IHHH", data[4:14]) == (6, 0, 1, 480)
    assert data[14:18] == b"MTrk"
    assert struct.unpack(">I", data[18:22])[0] == len(data) - 22
    at, tick, messages = 22, 0, []
    while True:
        step, at = read_length(data, at)
        tick += step
        if data[at] == 0xFF:
            kind, (size, body) = data[at + 1], read_length(data, at + 2)
            at = body + size
            if kind == 0x2F:
                assert at == len(data)
                return messages, tick
            continue
        size = 2 if data[at] >> 4 == 0xC else 3
        messages.append((tick, data[at : at + size]))
        at += size


@pytest.mark.parametrize(
    ("value", "code"), [(0, "00"), (127, "7f"), (128, "8100"), (0x3FFF, "ff7f"), (0x4000, "818000")]
)
def test_variable_length_is_the_standards_table(value, code):
    assert variable_length(value).hex() == code


def test_midi_file_reads_back():
    events = [program_event(0, 40, 0.0), *note_events(0, 60, 90, 0.5, 0.5)]
    events += note_events(0, 60, 80, 1.0, 1.0)
    messages, end = read_midi(midi_bytes(events, 3.0))
    second = TICKS_PER_SECOND
    assert messages == [
        (0, bytes((0xC0, 40))),
        (second // 2, bytes((0x90, 60, 90))),
        (second, bytes((0x80, 60, 0))),
        (second, bytes((0x90, 60, 80))),
        (2 * second, bytes((0x80, 60, 0))),
    ]
    assert end == 3 * second


def test_every_note_of_a_score_is_switched_off_inside_the_clip():
    for seed in range(60):
        score = compose(random.Random(seed)).score
        messages, _ = read_midi(midi_bytes(score_events(score, 1.0), 20.0))
        on = [m for _, m in messages if m[0] >> 4 == 9]
        off = [(t, m) for t, m in messages if m[0] >> 4 == 8]
        assert len(on) == len(off) == sum(len(p.notes) for p in score.parts)
        assert max(t for t, _ in off) <= (1.0 + score.duration_in_s) * TICKS_PER_SECOND


def test_pieces_last_two_to_ten_seconds_and_stay_in_range():
    for seed in range(400):
        piece = compose(random.Random(seed))
        assert 2 <= piece.score.duration_in_s <= 10
        programs = {INSTRUMENTS[n].program: n for n in piece.instruments if n in INSTRUMENTS}
        for part in piece.score.parts:
            assert all(1 <= n.velocity <= 127 for n in part.notes)
            if part.drums or part.program not in programs:
                continue
            who = INSTRUMENTS[programs[part.program]]
            assert all(who.low <= n.pitch <= max(who.high, who.low + 26) for n in part.notes)


def test_music_captions_follow_from_the_piece():
    for seed in range(400):
        piece = compose(random.Random(seed))
        captions = piece.captions
        assert 4 <= len(captions) <= 6
        assert len(set(captions)) == len(captions)
        assert all(c == c.lower() and not c.endswith(".") and "  " not in c for c in captions)
        named = [c for c in captions if any(n.removeprefix("a ") in c for n in piece.instruments)]
        assert 2 * len(named) >= len(captions)
        low, high = TEMPOS[piece.tempo]
        assert low <= piece.score.bpm <= high
        others = set(TEMPOS) - {piece.tempo}
        for caption in captions:
            assert "bpm" not in caption or f"{piece.score.bpm} bpm" in caption
            assert not any(f"{word} {piece.form}" in caption for word in others)
            if " major" in caption or " minor" in caption:
                assert piece.key in caption


def test_a_caption_with_a_key_is_the_key_that_is_played():
    major, minor = {0, 2, 4, 5, 7, 9, 11}, {0, 2, 3, 5, 7, 8, 10}
    keys = {key_name(t, m): (t, m) for t in range(12) for m in ("major", "minor")}
    checked = 0
    for seed in range(300):
        piece = compose(random.Random(seed))
        if piece.key not in keys:
            continue
        tonic, mode = keys[piece.key]
        allowed = major if mode == "major" else minor
        pitches = [n.pitch for p in piece.score.parts if not p.drums for n in p.notes]
        assert {(pitch - tonic) % 12 for pitch in pitches} <= allowed
        checked += 1
    assert checked > 150


def test_about_half_of_the_pieces_are_solos_and_all_instruments_come():
    pieces = [compose(random.Random(seed)) for seed in range(1500)]
    solos = [p for p in pieces if len(p.instruments) == 1 and p.instruments[0] in INSTRUMENTS]
    assert 0.42 < len(solos) / len(pieces) < 0.62
    assert {p.instruments[0] for p in solos} == set(INSTRUMENTS)


@pytest.mark.parametrize("name", list(MAKERS))
def test_noise_makers_are_finite_and_audible(name):
    for seed in range(3):
        waveform, captions, kind = MAKERS[name](random.Random(seed))
        assert np.isfinite(waveform).all()
        assert 0.3 < len(waveform) / RATE <= 10
        assert np.std(waveform) > 1e-3
        assert kind == ("event" if name in SIGNALS else "ambience")
        assert all(c == c.lower() and not c.endswith(".") for c in captions)


def test_number_of_beeps_is_the_number_in_the_caption():
    for seed in range(12):
        waveform, captions, _ = SIGNALS["beeps"](random.Random(seed))
        loud = np.abs(waveform[: len(waveform) // 160 * 160]).reshape(-1, 160).max(axis=1) > 0
        count = int(np.sum(np.diff(loud.astype(int), prepend=0) == 1))
        number = NUMBERS[count]
        assert any(number in c.split() or (count == 1 and "a" in c.split()) for c in captions)
        others = set(NUMBERS) - {number}
        assert not any(others & set(c.split()) for c in captions)


def test_tone_has_the_frequency_of_its_caption():
    for seed in range(8):
        waveform, captions, _ = SIGNALS["tone"](random.Random(seed))
        hertz = next(int(c.split()[-2]) for c in captions if c.endswith("hertz"))
        spectrum = np.abs(np.fft.rfft(waveform))
        assert np.argmax(spectrum) * RATE / len(waveform) == pytest.approx(hertz, abs=0.5)


def test_sweep_moves_as_its_caption_says():
    for seed in range(8):
        waveform, captions, _ = SIGNALS["sweep"](random.Random(seed))
        quarter = len(waveform) // 4
        first, last = (
            np.argmax(np.abs(np.fft.rfft(x))) for x in (waveform[:quarter], waveform[-quarter:])
        )
        assert (last > first) == any("rises" in c for c in captions)


def test_oscillator_has_no_aliases():
    saw = oscillator("saw", np.full(RATE, 3000.0))
    spectrum = np.abs(np.fft.rfft(saw * np.hanning(RATE)))
    peaks = np.flatnonzero(spectrum > 1e-3 * spectrum.max())
    assert {round(peak / 100) * 100 for peak in peaks.tolist()} == {3000, 6000}


def test_coloured_noise_falls_by_its_slope():
    for power in (0.0, 0.5, 1.0):
        noise = shaped_noise(random.Random(0), 30.0, slope(power))
        energy = np.abs(np.fft.rfft(noise)) ** 2
        low, high = (energy[30 * f : 30 * 2 * f].mean() for f in (500, 2000))
        assert 10 * np.log10(low / high) == pytest.approx(40 * power * np.log10(2), abs=0.5)


def test_talks_name_the_right_speakers():
    for seed in range(300):
        talk = plan_talk(random.Random(seed))
        assert 4 <= len(talk.captions) <= 6
        sexes = {VOICES[t.voice] for t in talk.turns}
        words = {w for c in talk.captions for w in c.split()}
        if sexes == {"man"}:
            assert not words & {"woman", "female", "women"}
        if sexes == {"woman"}:
            assert not words & {"man", "male", "men"}


def test_finish_sets_the_level_and_refuses_silence():
    rng = random.Random(1)
    x = np.sin(np.arange(RATE) * 0.1).astype(np.float32) * 5
    level = 20 * np.log10(np.sqrt(np.mean(finish(rng, x, RATE) ** 2)))
    assert -25 < level < -16
    spike = np.zeros(RATE, np.float32)
    spike[8000] = 3.0
    assert np.max(np.abs(finish(rng, spike, RATE))) == pytest.approx(0.95)
    with pytest.raises(SoundleapError, match="peak 0"):
        finish(rng, np.zeros(RATE, np.float32), RATE)


def digests(folder):
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.flac"))
    }


def read_manifest(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_noise_corpus_is_deterministic_complete_and_resumable(tmp_path):
    seen = []
    first = render_corpus(
        tmp_path / "a", counts={"noise": 34}, seed=3, progress=lambda *p: seen.append(p)
    )
    assert (first.rendered, first.skipped, first.failures) == (34, 0, [])
    assert seen == [(30, 34), (34, 34)]
    rows = read_manifest(tmp_path / "a")
    assert len({r["id"] for r in rows}) == 34
    for row in rows:
        assert set(row) == set(Row.__annotations__)
        info = soundfile.info(tmp_path / "a" / row["file"])
        assert (info.samplerate, info.channels, info.format) == (RATE, 1, "FLAC")
        assert row["seconds"] == pytest.approx(info.duration, abs=1e-4)
        assert row["split"] == split_of(row["id"])
    before = digests(tmp_path / "a")
    render_corpus(tmp_path / "b", counts={"noise": 34}, seed=3, workers=2)
    assert digests(tmp_path / "b") == before
    assert read_manifest(tmp_path / "b") == rows
    (tmp_path / "a" / rows[5]["file"]).unlink()
    again = render_corpus(tmp_path / "a", counts={"noise": 34}, seed=3)
    assert (again.rendered, again.skipped) == (1, 33)
    assert digests(tmp_path / "a") == before
    assert not list(tmp_path.rglob("*.part"))


def test_seed_and_index_choose_the_noise():
    same = make_noise(random.Random("noise:1:0"))
    np.testing.assert_array_equal(same.waveform, make_noise(random.Random("noise:1:0")).waveform)
    assert same.captions != make_noise(random.Random("noise:1:1")).captions


def test_split_holds_out_about_five_percent():
    held_out = sum(split_of(f"clip-{k}") == "heldout" for k in range(10_000))
    assert 400 < held_out < 600


def test_a_failed_clip_is_named_and_counted(tmp_path):
    folder = tmp_path / "audio" / "rendered-noise"
    folder.mkdir(parents=True)
    (folder / "rendered-noise-0-000001.flac").mkdir()  # nothing can be written there
    report = render_corpus(tmp_path, counts={"noise": 3})
    assert report.rendered == 2
    assert [name for name, _ in report.failures] == ["rendered-noise-0-000001"]
    assert len(read_manifest(tmp_path)) == 2


def test_wrong_input_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="did you mean 'music'"):
        render_corpus(tmp_path / "x", counts={"musik": 1})
    with pytest.raises(InputError, match="workers is 0; allowed: 1 to 64"):
        render_corpus(tmp_path / "x", counts={"noise": 1}, workers=0)
    with pytest.raises(InputError, match="count of noise is -1"):
        render_corpus(tmp_path / "x", counts={"noise": -1})
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(fluidsynth_missing() is not None, reason=str(fluidsynth_missing()))
def test_music_renders_the_same_alone_and_with_more_clips(tmp_path):
    render_corpus(tmp_path / "a", counts={"music": 2}, seed=5)
    report = render_corpus(tmp_path / "b", counts={"music": 3}, seed=5)
    assert report.failures == []
    few, more = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert few.items() <= more.items()
    for row in read_manifest(tmp_path / "b"):
        waveform, _ = soundfile.read(tmp_path / "b" / row["file"])
        assert np.abs(waveform).max() <= 1
        assert -35 < 20 * np.log10(waveform.std()) < -10


@pytest.mark.skipif(flite_missing() is not None, reason=str(flite_missing()))
def test_speech_renders(tmp_path):
    report = render_corpus(tmp_path, counts={"speech": 2}, seed=5)
    assert report.failures == []
    for row in read_manifest(tmp_path):
        assert row["kind"] == "voice"
        assert 0.5 < row["seconds"] <= 10

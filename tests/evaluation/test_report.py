from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from records import make_record

from soundleap.errors import AudioFileError, InputError
from soundleap.evaluation.protocols.heldout import heldout_protocol
from soundleap.evaluation.report import report_markdown, report_page, write_report
from soundleap.evaluation.report_pictures import picture_url, spectrogram, spectrogram_grid
from soundleap.evaluation.report_sounds import SoundBudget, read_clip, read_sound

VOID = ("meta", "img", "input", "line", "circle", "rect", "path", "polyline", "br", "link")


class Page(HTMLParser):
    """Parses a page strictly enough: tags close in order, and what must be there is collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.needed: list[str] = []
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.unnamed: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self._look(tag, dict(attrs))

    def handle_starttag(self, tag, attrs):
        self._look(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def _look(self, tag, values):
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.needed += [values[n] for n in ("aria-labelledby", "for") if n in values]
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []
        self.sources += [values[n] for n in ("src", "href", "srcset", "data") if n in values]
        if tag in ("audio", "svg") and not values.get("aria-label"):
            self.unnamed.append(tag)
        if tag == "img" and not values.get("alt"):
            self.unnamed.append(tag)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return make_record(tmp_path_factory.mktemp("report"), "student:1")


@pytest.fixture(scope="module")
def text(record):
    return report_page(record)


def test_page_is_whole_and_loads_nothing(text):
    page = Page(text)
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert "://" not in re.sub(r"data:[^\"]*", "", text)
    assert "script" not in page.tags
    assert "default-src &#x27;none&#x27;" in text


def test_page_can_be_used_without_eyes_and_mouse(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.needed) <= set(page.ids)
    assert page.unnamed == []
    levels = [int(name[1]) for name in page.headings]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert 'lang="en"' in text
    assert "prefers-color-scheme: dark" in text
    assert 'alt="Spectrogram of &#x27;a dog&#x27;, generated, 0.5 s, 0 to 8 kHz"' in text


def test_page_tells_numbers_intervals_protocol_and_origin(text, record):
    plain = re.sub(r"<[^>]+>", " ", text)
    assert re.search(
        r"Fréchet distance\s+yamnet\s+20.00\s+19.00 to 21.00\s+lower\s+4 / 4\s+toy", plain
    )
    assert text.count("toy &lt;list&gt;@f4285c07246f") >= 4  # title, summary, each number
    assert record.protocol.hash in text
    assert "few rows" in text
    assert "bootstrap 95 %" in text
    assert "ours (Soundleap&#x27;s own model)" in text
    assert "kernel distance (KAD), yamnet: too few rows" in text
    assert "toy processor" in text
    assert "soundleap evaluate &lt;x&gt;" in text
    assert "peak &lt;0.0001" in text
    assert "rain &lt;b&gt;" in text


def test_best_and_worst_by_text_score(text):
    best, worst = text.index("Best clips by text-score ours"), text.index("Worst clips by")
    order = [m.group(1) for m in re.finditer(r'<p class="quiet">(clip-\d)</p>', text[best:])]
    assert best < worst
    assert order == ["clip-1", "clip-2", "clip-0", "clip-3"]


def test_same_record_gives_the_same_page(text, record):
    assert report_page(record) == text
    assert report_markdown(record) == report_markdown(record)


def test_players_hold_the_sounds(text):
    urls = re.findall(r'<audio[^>]*src="data:audio/mpeg;base64,([^"]+)"', text)
    assert len(urls) == 8
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(urls[0])))
    assert rate == 16000
    assert sound.size == pytest.approx(8000, abs=2304)  # MP3 adds frames


def test_sounds_beyond_the_limit_are_left_out_and_told(record):
    for megabytes in (0.02, 0.0):
        text = report_page(record, audio_megabytes=megabytes)
        players = text.count("<audio")
        assert players < 8
        assert f"{8 - players} sounds have no player here" in text
        assert sum(map(len, re.findall(r'src="(data:audio[^"]+)"', text))) <= megabytes * 1e6


def test_sounds_that_are_gone_are_told(record):
    clips = tuple(replace(c, path=None) if c.id == "clip-2" else c for c in record.clips)
    text = report_page(replace(record, clips=clips))
    assert "No sound for generated clip-2: where clip-2.wav is was not recorded" in text
    moved = tuple(replace(c, path=f"{c.path}.gone" if c.path else None) for c in record.clips)
    assert "and 3 more sounds" in report_page(replace(record, clips=moved))


def test_record_without_clips_scores_or_protocol(record):
    bare = replace(
        record, clips=(), protocol=None, confusion=(), embedders=(), metrics=(), system={}, sets=()
    )
    text = report_page(bare)
    Page(text)
    assert "Evaluation of unnamed system" in text
    assert "settings@eeeeeeeeeeee" in text
    assert "| number |" in report_markdown(bare)


def test_several_captions_share_a_recording(record):
    clips = tuple(replace(c, id=f"{c.id}-c2") if c.role == "generated" else c for c in record.clips)
    assert report_page(replace(record, clips=clips)).count("<audio") == 8


def test_plots_need_two_systems(record, text, tmp_path):
    assert "<svg" not in text
    other = make_record(tmp_path, "student:4", fd=15.0, steps=4)
    drawn = report_page(record, others=[other])
    Page(drawn)
    assert drawn.count("<svg") == 4  # two numbers, two kinds of effort
    assert "student:4: 4.000, 15.00" in drawn


def test_written_files(record, tmp_path):
    paths = write_report(record, tmp_path / "out")
    assert [path.name for path in paths] == ["evaluation.md", "report.html"]
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="audio_megabytes is -1"):
        write_report(record, tmp_path / "out", audio_megabytes=-1)
    other = replace(record, protocol=None)
    with pytest.raises(InputError, match="different protocols"):
        write_report(record, tmp_path / "out", others=[other])


def test_markdown_has_the_same_facts(record):
    text = report_markdown(record)
    line = "| Fréchet distance | yamnet | 20.00 | 19.00 to 21.00 | lower | 4 / 4 |"
    assert f"{line} toy <list>@f4285c07246f |" in text
    assert record.protocol.hash in text
    assert "- Fréchet distance, yamnet: few rows" in text
    assert "| generated | clip\\|9 | silent: peak <0.0001 |" in text
    assert "| clip-1 | a dog | 0.4000 |" in text
    assert "- kernel distance (KAD), yamnet: too few rows" in text


def test_read_sound_takes_the_stretch(tmp_path):
    path = tmp_path / "x.wav"
    ramp = np.linspace(-1, 1, 16000, dtype=np.float32)
    soundfile.write(path, np.stack([ramp, ramp * 0], axis=1), 16000, subtype="FLOAT")
    sound = read_sound(path, start_in_s=0.25, seconds=0.5)
    assert np.allclose(sound.waveform, ramp[4000:12000] / 2)
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, ramp * 4, 16000, subtype="FLOAT")
    assert np.abs(read_sound(loud).waveform).max() == 1.0
    assert np.abs(read_sound(loud, level=True).waveform).max() < 0.5
    with pytest.raises(AudioFileError, match="no samples"):
        read_sound(path, start_in_s=1.0)
    soundfile.write(path, ramp * np.nan, 16000, subtype="FLOAT")
    with pytest.raises(AudioFileError, match="NaN"):
        read_sound(path)


def test_what_was_heard_is_read(record):
    clip = next(clip for clip in record.clips if clip.role == "generated")
    assert read_clip(replace(clip, seconds=0.25)).waveform.size == 4000


def test_budget_counts_what_stands_in_the_page(record):
    budget = SoundBudget(1.0)
    sound = read_clip(record.clips[0])
    url = budget.url(sound, "flac")
    assert url is not None
    assert url.startswith("data:audio/flac;base64,")
    assert (budget.spent, budget.left_out) == (len(url), 0)


def test_spectrogram_finds_the_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    levels = spectrogram(tone)
    assert levels[:, 30].argmax() == 64  # 1000 Hz of 16000 in 1024 bins
    assert levels.max() == pytest.approx(0, abs=0.5)
    assert picture_url(tone, 16000).startswith("data:image/png;base64,iVBOR")
    assert picture_url(np.zeros(10), 44100)  # shorter than a frame, silent


def test_spectrogram_grid_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "grid.png"
    waveforms = [np.random.default_rng(i).standard_normal(3000) for i in range(5)]
    spectrogram_grid(waveforms, list("abcde"), path, columns=3)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="5 waveforms, 1 titles"):
        spectrogram_grid(waveforms, ["a"], path)


def test_pages_are_small_without_sounds(record):
    assert len(report_page(record, audio_megabytes=0)) < 600_000


def test_recordings_of_the_heldout_list_are_credited(record):
    protocol = heldout_protocol()
    clip = protocol.clips[0]
    named = tuple(replace(c, id=clip.id) if c.id == "clip-1" else c for c in record.clips)
    text = report_page(replace(record, clips=named, protocol=protocol.stamp()))
    assert "Who made the recordings" in text
    assert f", by {clip.author}, {clip.licence}" in text
    assert clip.url in text
    assert "Who made the recordings" not in report_page(record)

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from soundleap.audio.io import write_audio
from soundleap.audio.loudness import active_rms
from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.evaluation.listen import make_listening_test
from soundleap.evaluation.listen_page import seal, unseal
from soundleap.evaluation.listen_pairs import match_levels, pair_sounds

RATE = 16000


def tone(seed: int, gain: float = 0.1, seconds: float = 0.5) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (np.clip(noise * gain, -1, 1)).astype(np.float32)


def write_system(folder, count: int, gain: float, seconds: float = 0.5):
    for i in range(count):
        write_audio(
            folder / f"clip-{i}.wav",
            tone(i, gain, seconds),
            RATE,
            metadata={"prompt": f"sound <{i}> of </script>", "model": folder.name},
        )
    return folder


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    root = tmp_path_factory.mktemp("listen")
    return write_system(root / "loudmouth", 6, 0.3), write_system(root / "whisperer", 6, 0.01)


def read_page(path) -> tuple[dict, str]:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found.group(1)), text


def truth(data) -> list[dict]:
    return json.loads(unseal(data["sealed"], data["page"]))


def test_page_hides_names_and_loads_nothing(systems, tmp_path):
    made = make_listening_test(*systems, tmp_path / "page.html", seed=4)
    data, text = read_page(made.page)
    for name in ("loudmouth", "whisperer", "clip-"):
        assert name not in re.sub(r"data:audio[^\"]*", "", text)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "://" not in re.sub(r"data:audio[^\"]*", "", text)
    assert "default-src &#x27;none&#x27;" in text
    assert (made.trials, made.names) == (6, ("loudmouth", "whisperer"))
    assert {row["clip"] for row in truth(data)} == {f"clip-{i}" for i in range(6)}
    assert data["trials"][0]["prompt"].endswith("of </script>")
    assert made.page_id in text
    assert "seed 4" in text


def test_sounds_are_those_of_the_sealed_systems_at_one_level(systems, tmp_path):
    data, _ = read_page(make_listening_test(*systems, tmp_path / "page.html").page)
    for trial, row in zip(data["trials"], truth(data), strict=True):
        levels = []
        for url, name in zip(trial["urls"], row["systems"], strict=True):
            raw = base64.b64decode(url.removeprefix("data:audio/flac;base64,"))
            sound, rate = soundfile.read(io.BytesIO(raw), dtype="float32")
            assert rate == RATE
            folder = next(system for system in systems if system.name == name)
            original, _ = soundfile.read(folder / f"{row['clip']}.wav", dtype="float32")
            gain = active_rms(sound) / active_rms(original)
            assert np.abs(sound - gain * original).max() < 5e-5
            levels.append(active_rms(sound))
            with soundfile.SoundFile(io.BytesIO(raw)) as file:
                assert not file.comment
        assert levels[0] == pytest.approx(levels[1], rel=1e-3)
        assert levels[0] == pytest.approx(0.1, rel=1e-3)


def test_order_is_drawn_by_the_seed_and_sides_are_balanced(systems, tmp_path):
    pages = {
        name: read_page(make_listening_test(*systems, tmp_path / name, seed=seed).page)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert pages["a"][1] == pages["b"][1]
    assert truth(pages["a"][0]) != truth(pages["c"][0])
    for data, _ in pages.values():
        firsts = [row["systems"][0] for row in truth(data)]
        assert firsts.count("loudmouth") == 3
    few = make_listening_test(*systems, tmp_path / "few", seed=1, trials=3)
    assert len(read_page(few.page)[0]["trials"]) == 3


def test_louder_of_two_is_lowered_where_a_peak_limits_the_other(tmp_path):
    click = np.zeros(RATE, dtype=np.float32)
    click[::4000] = 0.5
    soundfile.write(tmp_path / "one.wav", click, RATE)
    soundfile.write(tmp_path / "two.wav", tone(0, 0.2, 1.0), RATE)
    for folder, name in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / f"{name}.wav", tmp_path / folder / "x.wav")
    pairs, unpaired = pair_sounds(tmp_path / "a", tmp_path / "b")
    assert (len(pairs), unpaired) == (1, [])
    one, two = match_levels(pairs[0])
    assert active_rms(one.waveform[0]) == pytest.approx(active_rms(two.waveform[0]), rel=1e-4)
    assert np.abs(one.waveform).max() == pytest.approx(0.95, rel=1e-4)


def test_channels_are_averaged_only_where_the_sides_differ(tmp_path):
    stereo = np.stack([tone(0), tone(1)], axis=1)
    for folder, sound in (("a", stereo), ("b", stereo), ("c", stereo[:, :1])):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", sound, RATE)
    both, _ = pair_sounds(tmp_path / "a", tmp_path / "b")
    mixed, _ = pair_sounds(tmp_path / "a", tmp_path / "c")
    assert [len(level.waveform) for level in match_levels(both[0])] == [2, 2]
    assert [len(level.waveform) for level in match_levels(mixed[0])] == [1, 1]


def test_unpaired_sounds_and_lengths_are_told(systems, tmp_path):
    longer = write_system(tmp_path / "longer", 7, 0.1, seconds=0.8)
    made = make_listening_test(systems[0], longer, tmp_path / "page.html")
    assert made.unpaired == ("clip-6",)
    assert len(made.lengths_differ) == 6


def test_systems_are_named_as_they_say(systems, tmp_path):
    folders = [write_system(tmp_path / name / "out", 1, 0.1) for name in ("a", "b")]
    assert make_listening_test(*folders, tmp_path / "p").names == ("a/out", "b/out")
    for folder in folders:
        (folder / "system.json").write_text(json.dumps({"name": f"model {folder.parent.name}"}))
    assert make_listening_test(*folders, tmp_path / "q").names == ("model a", "model b")
    (folders[0] / "system.json").write_text("[]")
    assert make_listening_test(*folders, tmp_path / "r").names == ("a/out", "b/out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 7}, "trials is 7; allowed: 1 to 6"),
        ({"trials": 0}, "trials is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"format": "opus"}, "format is 'opus'"),
        ({"names": ("x", "x")}, "two different ones"),
        ({"names": ("x", "tie")}, "not 'tie'"),
        ({"megabytes": 0.1}, "would pass 0.1 MB at trial"),
    ],
)
def test_wrong_settings_are_refused(systems, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        make_listening_test(*systems, tmp_path / "page.html", **settings)
    assert not list(tmp_path.iterdir())


def test_sounds_that_do_not_fit_are_refused(systems, tmp_path):
    other = tmp_path / "other"
    write_audio(other / "name.wav", tone(0), RATE)
    with pytest.raises(InputError, match="no sound of the same name"):
        pair_sounds(systems[0], other)
    write_audio(other / "clip-0.wav", tone(0), RATE, metadata={"prompt": "else"})
    with pytest.raises(InputError, match="'clip-0' has two captions: 'else' and"):
        pair_sounds(systems[0], other)
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        make_listening_test(*systems, page)
    assert page.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "x", 'é "quoted" ☃' * 50])
def test_sealing_is_undone(text):
    sealed = seal(text, "0123456789ab")
    assert unseal(sealed, "0123456789ab") == text
    assert not text or text not in sealed
    # xorshift32 goes from 1 to 270369 = 0x42021 (Marsaglia 2003): the first byte is 0x21
    assert base64.b64decode(seal("\0", "000000001234")) == b"\x21"


class Structure(HTMLParser):
    """Collects what a page must have to be used without eyes or mouse."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.needed: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(values["id"])
        for name in ("for", "aria-labelledby"):
            if values.get(name):
                self.needed.append(values[name])
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)


def test_labels_point_to_what_is_there(systems, tmp_path):
    structure = Structure()
    structure.feed(read_page(make_listening_test(*systems, tmp_path / "p").page)[1])
    assert len(structure.ids) == len(set(structure.ids))
    assert set(structure.needed) <= set(structure.ids)
    assert structure.headings[0] == "h1"


def test_command_line(systems, tmp_path, capsys):
    page = tmp_path / "page.html"
    one, two = map(str, systems)
    assert main(["listen", "-o", str(page), one, two, "--trials", "2", "--seed", "5"]) == 0
    assert "2 pairs of loudmouth and whisperer, seed 5" in capsys.readouterr().out
    assert main(["listen", "page", one, two, "-o", str(page)]) == 2
    assert main(["listen", one, two, "-o", str(page), "--overwrite", "--name-a", "x"]) == 2
    answers = tmp_path / "answers.csv"
    answers.write_text(
        "page,listener,trial,clip,left,right,choice,winner\np,ann,1,c,a,b,left,a\n", "utf-8"
    )
    capsys.readouterr()
    assert main(["listen", "stats", str(answers)]) == 0
    assert "| ann | 1 | 0 | 0 | 100 % |" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_of_the_page_parses_and_unseals(systems, tmp_path):
    data, text = read_page(make_listening_test(*systems, tmp_path / "page.html").page)
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    file = tmp_path / "page.js"
    file.write_text(script, "utf-8")
    subprocess.run(["node", "--check", str(file)], check=True, capture_output=True)
    function = re.search(r"function unseal\(\) \{.*?\n  \}", script, re.S)
    assert function is not None
    sealed = json.dumps({"page": data["page"], "sealed": data["sealed"]})
    code = f"const data = {sealed};\n{function[0]}\nconsole.log(JSON.stringify(unseal()))"
    run = subprocess.run(["node", "-e", code], check=True, capture_output=True, text=True)
    assert json.loads(run.stdout) == truth(data)

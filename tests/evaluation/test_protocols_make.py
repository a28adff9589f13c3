from __future__ import annotations

import json
from dataclasses import replace

import pytest
import soundfile

from soundleap.bench.machine import use_threads
from soundleap.errors import InputError
from soundleap.evaluation.embedders import open_embedder
from soundleap.evaluation.protocols import EvaluationProtocol, ProtocolClip
from soundleap.evaluation.protocols.make import make_sounds
from soundleap.evaluation.rewarded import check_judges
from soundleap.generator import Generator
from soundleap.requests import Request

ONE = Request("", num_inference_steps=1)
PROTOCOL = EvaluationProtocol(
    name="three",
    embedders=("yamnet",),
    clips=(
        ProtocolClip(id="rain", caption="rain falls", seconds=0.5),
        ProtocolClip(id="in/dog", caption="a dog", seconds=0.75),
        ProtocolClip(id="bell#0.5", caption="a bell", seconds=0.5),
    ),
)


@pytest.fixture
def generator(pipeline):
    with use_threads(1):  # small networks gain nothing from more
        yield Generator(pipeline)


def test_sounds_manifest_and_system(generator, tmp_path):
    folder = tmp_path / "out"
    seen: list[str] = []
    report = make_sounds(PROTOCOL, folder, generator, common=ONE, on_sound=seen.append)
    assert (report.made, report.kept) == (3, 0)
    assert sorted(seen) == sorted(PROTOCOL.ids)
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(PROTOCOL.ids)
    assert [row["file"] for row in rows] == ["rain.wav", "00001.wav", "bell#0.5.wav"]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    for row, clip in zip(rows, PROTOCOL.clips, strict=True):
        assert soundfile.info(folder / row["file"]).duration == clip.seconds
    system = json.loads((folder / "system.json").read_text())
    assert (system["num_inference_steps"], system["protocol_hash"]) == (1, PROTOCOL.hash)
    assert system["seconds_per_second"] > 0
    assert "prompt" not in system
    assert "rewards" not in system
    assert "adapters" not in system


def test_the_networks_that_rewarded_the_student_are_told_of_it_alone(tmp_path):
    generator = Generator(None)
    student, teacher = (
        make_sounds(PROTOCOL, tmp_path / network, generator, common=replace(ONE, network=network))
        for network in ("student", "teacher")
    )
    kept = [json.loads((made.folder / "system.json").read_text()) for made in (student, teacher)]
    judge = open_embedder("ours").info
    with pytest.raises(InputError, match="embedder ours is the network that gave reward ours"):
        check_judges(kept[0], [judge])
    assert "rewards" not in kept[1]


def test_a_stopped_run_goes_on_to_the_same_sounds(generator, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    make_sounds(PROTOCOL, straight, generator, common=ONE, seed=7)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sounds(PROTOCOL, stopped, generator, common=ONE, seed=7, on_sound=stop)
    with (stopped / "manifest.jsonl").open("a") as file:
        file.write('{"id": "bell#0.5", "fi')  # a line that was cut off
    report = make_sounds(PROTOCOL, stopped, generator, common=ONE, seed=7)
    assert (report.made, report.kept) == (2, 1)
    for name in ("rain.wav", "00001.wav", "bell#0.5.wav"):
        one, two = (soundfile.read(folder / name)[0] for folder in (straight, stopped))
        assert (one == two).all()
    assert make_sounds(PROTOCOL, stopped, generator, common=ONE, seed=7).kept == 3


def test_other_settings_and_other_folders_are_refused(generator, tmp_path):
    folder = tmp_path / "out"
    make_sounds(PROTOCOL, folder, generator, common=ONE)
    with pytest.raises(InputError, match="made with seed 0, not 1"):
        make_sounds(PROTOCOL, folder, generator, common=ONE, seed=1)
    with pytest.raises(InputError, match="holds other files"):
        make_sounds(PROTOCOL, tmp_path, generator)
    silent = PROTOCOL.model_copy(
        update={"clips": (*PROTOCOL.clips, ProtocolClip(id="x", caption=None, seconds=1.0))}
    )
    with pytest.raises(InputError, match="no caption for 'x'"):
        make_sounds(silent, tmp_path / "new", generator)
    common = Request("", num_inference_steps=1000)
    with pytest.raises(InputError, match="num_inference_steps"):
        make_sounds(PROTOCOL, tmp_path / "new", generator, common=common)
    assert not (tmp_path / "new").exists()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from live_server import LONG, live, wait_for
from safetensors import safe_open
from safetensors.torch import save_file

from soundleap.bundle import hash_file
from soundleap.bundle_schema import MANIFEST_NAME
from soundleap.debug import write_untrained_bundle
from soundleap.errors import BundleError, InputError
from soundleap.server.app import create_app
from soundleap.server.settings import ServerSettings

SHORT = {"prompt": "rain", "duration_in_s": 0.5, "num_inference_steps": 1}


def test_while_a_model_loads_the_server_says_so(settings):
    with live(settings(), ready=False) as server:
        health = server.client.get("/health")
        sound = server.sound(**SHORT)
        if health.status_code == 503:  # it may have been quicker
            assert health.json()["status"] == "loading"
            assert health.headers["retry-after"] == "2"
            assert sound.status_code in (200, 503)
        if sound.status_code == 503:
            assert sound.json()["error"]["code"] == "loading"
            assert sound.headers["retry-after"] == "2"
        assert server.client.get("/v1/models").json()["data"][0]["duration_in_s"]["max"] == 10
        wait_for(lambda: server.client.get("/health").status_code == 200, "the model")


def test_a_damaged_model_is_told_and_the_server_stays_up(start, tmp_path: Path):
    folder = write_untrained_bundle(tmp_path / "damaged").folder
    (folder / "student.safetensors").write_bytes(b"broken")
    server = start(models=(str(folder),), ready=False)

    wait_for(lambda: server.client.get("/health").json()["status"] == "failed", "the failure")
    health = server.client.get("/health")
    assert health.status_code == 503
    assert "damaged" in health.json()["models"]["damaged"]["error"]
    sound = server.sound(**SHORT)
    assert (sound.status_code, sound.json()["error"]["code"]) == (503, "model_failed")


def test_several_models_are_served_by_name(start, untrained_folder: Path, tmp_path: Path):
    other = write_untrained_bundle(tmp_path / "other", seed=1).folder
    server = start(models=(str(untrained_folder), str(other)))

    first, second = (server.sound(**SHORT, seed=1, model=name) for name in ("untrained", "other"))

    assert (first.headers["x-model"], second.headers["x-model"]) == ("untrained", "other")
    assert first.content != second.content
    assert server.sound(**SHORT, seed=1).content == first.content
    assert [m["id"] for m in server.client.get("/v1/models").json()["data"]] == [
        "untrained", "other",
    ]  # fmt: skip


def test_models_that_can_not_be_told_apart_are_refused(untrained_folder: Path, tmp_path: Path):
    twin = write_untrained_bundle(tmp_path / untrained_folder.name).folder
    with pytest.raises(InputError, match="two models are called 'untrained'"):
        create_app(ServerSettings(models=(str(untrained_folder), str(twin))))
    with pytest.raises(InputError, match="must come first"):
        create_app(ServerSettings(models=(str(untrained_folder), "default")))
    with pytest.raises(BundleError, match="is no model folder"):
        create_app(ServerSettings(models=(str(tmp_path),)))
    with pytest.raises(InputError, match="did you mean 'default'"):
        create_app(ServerSettings(models=("defalt",)))


@pytest.fixture
def broken(start, tmp_path: Path) -> Any:
    """A server whose model gives NaN for some requests: its teacher is broken."""
    folder = write_untrained_bundle(tmp_path / "broken").folder
    _spoil(folder, "teacher")
    return start(models=(str(folder),), max_batch_size=4)


def _spoil(folder: Path, part: str) -> None:
    """Put NaN into a network's weights, and its new hash into the description."""
    file = folder / f"{part}.safetensors"
    with safe_open(str(file), "pt") as tensors:
        header = tensors.metadata()
        state = {name: tensors.get_tensor(name) for name in tensors.keys()}
    matrix = next(name for name, value in state.items() if value.ndim == 2)
    state[matrix] = torch.full_like(state[matrix], torch.nan)
    save_file(state, str(file), metadata=header)
    values = json.loads((folder / MANIFEST_NAME).read_text())
    values["parts"][part] |= hash_file(file).model_dump()
    (folder / MANIFEST_NAME).write_text(json.dumps(values))


def test_a_model_that_gives_nan_is_an_error_and_the_server_goes_on(broken):
    bad = broken.sound(**SHORT, network="teacher")

    assert bad.status_code == 500
    error = bad.json()["error"]
    assert (error["code"], error["type"]) == ("not_finite", "server_error")
    assert "NaN or infinity" in error["message"]
    assert broken.sound(**SHORT).status_code == 200
    job = broken.finished(broken.job(**SHORT, network="teacher", count=3))
    assert (job["status"], job["error"]["code"]) == ("failed", "not_finite")
    assert 'soundleap_errors_total{kind="not_finite"}' in broken.client.get("/metrics").text


def test_a_model_that_must_be_fetched_does_not_keep_the_server_from_starting(
    start, monkeypatch: pytest.MonkeyPatch, untrained_folder: Path
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server = start(models=(str(untrained_folder), "nobody/nothing"), ready=False)

    wait_for(lambda: server.client.get("/health").json()["status"] == "failed", "the failure")
    health = server.client.get("/health").json()["models"]["nobody/nothing"]
    assert "can't fetch it from the hub" in health["error"]
    listed = server.client.get("/v1/models/nobody/nothing").json()
    assert (listed["status"], listed["duration_in_s"]) == ("failed", None)
    wait_for(lambda: server.sound(**SHORT).status_code == 200, "the other model")


def test_stopping_finishes_what_runs_and_cancels_what_waits(start):
    server = start()
    running = server.job(**{**LONG, "num_inference_steps": 100, "duration_in_s": 1.0})
    wait_for(lambda: server.dispatcher.running, "the work's begin")
    waiting = server.job(**SHORT, count=2)

    server.stop()

    assert server.client.get(running["links"]["self"]).json()["status"] == "done"
    sound = server.client.get(f"{running['links']['self']}/audio/1.wav")
    assert sound.status_code == 200
    lost = server.client.get(waiting["links"]["self"]).json()
    assert (lost["status"], lost["error"]["code"]) == ("cancelled", "stopping")
    assert server.client.get("/health").json()["status"] == "stopping"
    refused = server.sound(**SHORT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert "retry-after" in refused.headers


def test_stopping_does_not_wait_for_ever(start):
    server = start(drain_timeout_in_s=0.1)
    running = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the work's begin")

    server.stop()

    job = server.client.get(running["links"]["self"]).json()
    assert (job["status"], job["error"]["code"]) == ("cancelled", "stopping")

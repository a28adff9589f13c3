from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import soundfile

from soundleap.audio.io import encode_audio
from soundleap.generator import Generator
from soundleap.requests import Request

SHORT = {"prompt": "rain on a tin roof", "duration_in_s": 0.5, "num_inference_steps": 1, "seed": 7}


def _error(answer: Any, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


def test_a_sound_has_the_bytes_that_the_library_writes(server, pipeline):
    result = Generator(pipeline).generate([Request(**SHORT)])[0]

    answer = server.sound(**SHORT)

    assert answer.content == encode_audio(
        result.waveform, result.sampling_rate, "wav", result.metadata
    )
    headers = answer.headers
    assert (headers["x-seed"], headers["x-model"]) == ("7", "untrained")
    assert (headers["x-sampling-rate"], headers["x-duration-in-s"]) == ("16000", "0.5")
    assert headers["content-type"] == "audio/wav"
    assert headers["server-timing"].startswith("queue;dur=")


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_the_same_request_gives_the_same_bytes_in_every_format(server, kind: str):
    first, second = (server.sound(**SHORT, response_format=kind) for _ in range(2))

    assert first.status_code == 200
    assert first.content == second.content
    assert soundfile.info(io.BytesIO(first.content)).samplerate == 16000


def test_the_names_of_vllm_omni_are_accepted(server):
    ours = server.sound(**SHORT)
    theirs = server.sound(
        input=SHORT["prompt"], audio_length=0.5, num_inference_steps=1, seed=7, model="untrained",
        response_format="wav", audio_start=0.0, negative_prompt=None, guidance_scale=None,
    )  # fmt: skip

    assert theirs.content == ours.content


def test_a_drawn_seed_is_told_and_can_be_used_again(server):
    drawn = server.sound(**{**SHORT, "seed": None})

    again = server.sound(**{**SHORT, "seed": int(drawn.headers["x-seed"])})

    assert again.content == drawn.content


@pytest.mark.parametrize(
    ("changes", "field", "message", "allowed"),
    [
        ({"duration_in_s": 20}, "duration_in_s", "duration_in_s is 20 s; allowed: 0.5 to 10 s",
         "0.5 to 10 s"),
        ({"num_inference_steps": 9}, "num_inference_steps",
         "num_inference_steps is 9; allowed: 1 to 8", "1 to 8"),
        ({"guidance_scale": 7.5}, "guidance_scale", "guidance_scale is 7.5; allowed: 1 to 6",
         "1 to 6"),
        ({"seed": -1}, "seed", "seed is -1; allowed: at least 0", "at least 0"),
        ({"seed": "7"}, "seed", "seed is '7'; give a whole number", None),
        ({"seed": True}, "seed", "seed is True; give a whole number", None),
        ({"duration_in_s": "x"}, "duration_in_s", "duration_in_s is 'x'; give a number", None),
        ({"prompt": "x" * 1001}, "prompt", "prompt has 1001 characters; allowed: at most 1000 "
         "characters", "at most 1000 characters"),
        ({"prompt": "  "}, "prompt", "prompt is empty; say what is to be heard", None),
        ({"prompt": None}, "prompt", "prompt is missing; say what is to be heard", None),
        ({"prompt": "rain " * 150}, "prompt", "prompt has 150 tokens; allowed: at most", None),
        ({"prompt": "雨 雨"}, "prompt", "holds no word that this model's text encoder knows", None),
        ({"input": "rain"}, "prompt", "prompt and input are the same; give one of them", None),
        ({"audio_length": 1.0}, "duration_in_s", "duration_in_s and audio_length are the same",
         None),
        ({"model": "other"}, "model", "unknown model 'other' (known: untrained)", "untrained"),
        ({"network": "techer"}, "network", "network is 'techer'; allowed: student, teacher",
         "student, teacher"),
        ({"response_format": "aac"}, "response_format",
         "response_format is 'aac'; allowed: wav, flac, ogg, opus, mp3",
         "wav, flac, ogg, opus, mp3"),
        ({"steps": 2}, "steps", "unknown field 'steps'", None),
        ({"audio_start": 2}, "audio_start", "audio_start is 2; allowed: 0", "0"),
        ({"speed": 1.5}, "speed", "speed is 1.5; allowed: 1", "1"),
        ({"negative_prompt": "wind", "guidance_scale": 1}, "negative_prompt",
         "negative_prompt does nothing at guidance_scale 1", None),
        ({"struct_prompt": "<rain& all>"}, "struct_prompt", "reads no struct_prompt", None),
        ({"compat": True}, "compat", "compat repeats how a published system samples", None),
        ({"solver": "heun"}, "solver", "solver is for the teacher", None),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_is_named_with_what_is(
    server, changes: dict[str, Any], field: str, message: str, allowed: str | None
):
    error = _error(server.sound(**{**SHORT, **changes}))

    assert message in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request", "invalid_value")
    assert error["param"] == error["fields"][0]["field"] == field
    if allowed is not None:
        assert error["fields"][0]["allowed"] == allowed


def test_errors_use_the_clients_names(server):
    error = _error(server.sound(input="rain", audio_length=20))

    assert error["message"] == "audio_length is 20 s; allowed: 0.5 to 10 s"
    assert error["fields"] == [
        {
            "field": "audio_length",
            "message": error["message"],
            "value": 20,
            "allowed": "0.5 to 10 s",
        }
    ]


def test_all_faults_of_a_body_are_told_at_once(server):
    error = _error(server.sound(prompt=3, seed="x", durtion_in_s=1))

    assert [fault["field"] for fault in error["fields"]] == ["prompt", "seed", "durtion_in_s"]
    assert "did you mean 'duration_in_s'?" in error["message"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b'{"prompt": ', "application/json", 400, "invalid_json"),
        (b'{"prompt": "\xff"}', "application/json", 400, "invalid_json"),
        (b"[" * 30000, "application/json", 400, "invalid_json"),
        (b'{"prompt": "a", "seed": ' + b"1" * 5000 + b"}", "application/json", 400, "invalid_json"),
        (b"[1]", "application/json", 422, "invalid_value"),
        (b"", "application/json", 422, "invalid_value"),
        (b'{"prompt": "a"}', "text/plain", 415, "wrong_content_type"),
        (b'{"prompt": "a"}', "", 415, "wrong_content_type"),
        (b'{"prompt": "a", "duration_in_s": NaN}', "application/json", 422, "invalid_value"),
        (b'{"prompt": "a", "duration_in_s": 1e999}', "application/json", 422, "invalid_value"),
        (b'{"prompt": "a\\ud800"}', "application/json", 422, "invalid_value"),
        (b'{"prompt": "a", "seed": ' + b"1" * 400 + b"}", "application/json", 422, "invalid_value"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(
    server, content: bytes, kind: str, status: int, code: str
):
    headers = {"Content-Type": kind} if kind else {}

    answer = server.client.post("/v1/audio/generate", content=content, headers=headers)

    assert _error(answer, status)["code"] == code


def test_what_is_not_there_has_the_same_shape(server):
    assert _error(server.client.get("/v1/nothing"), 404)["code"] == "not_found"
    answer = server.client.get("/v1/audio/generate")
    assert _error(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
    assert _error(server.client.get("/v1/models/other"), 404)["code"] == "not_found"


def test_models_tell_their_limits(server):
    listed = server.client.get("/v1/models").json()

    model = listed["data"][0]
    assert (model["id"], model["default"], model["status"]) == ("untrained", True, "ready")
    assert (model["licence"], model["sampling_rate"]) == ("CC0-1.0", 16000)
    assert model["duration_in_s"] == {"default": 5.0, "min": 0.5, "max": 10.0}
    assert model["networks"]["student"]["num_inference_steps"] == {
        "default": 2, "min": 1, "max": 8,
    }  # fmt: skip
    assert model["networks"]["student"]["guidance_scale"]["max"] == 6.0
    assert listed["formats"] == ["wav", "flac", "ogg", "opus", "mp3"]
    assert listed["limits"]["max_takes"] == 16
    assert server.client.get("/v1/models/untrained").json() == model


def test_the_default_model_has_two_names(server):
    assert server.sound(**SHORT, model="default").headers["x-model"] == "untrained"


def test_a_files_settings_are_read_back(server, tmp_path: Path):
    for kind in ("wav", "mp3"):
        sound = server.sound(**SHORT, response_format=kind).content

        found = server.client.post("/v1/metadata", content=sound).json()

        assert found["settings"]["prompt"] == SHORT["prompt"]
        assert found["settings"]["seed"] == 7
        assert (found["model"], found["same_model"]) == ("untrained", True)
        assert found["metadata"]["ai_generated"] is True
    for other in (b"", b"RIFF", sound[:100], b"\0" * 5000):
        error = _error(server.client.post("/v1/metadata", content=other))
        assert "the file" in error["message"]
        assert "/tmp" not in error["message"]


def test_health_and_metrics_tell_of_the_work(server):
    server.sound(**SHORT)

    health = server.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ready")
    assert health.json()["models"]["untrained"]["workers_ready"] == 1
    text = server.client.get("/metrics").text
    for line in (
        'soundleap_queue_length{model="untrained"} 0',
        'soundleap_batch_size_bucket{model="untrained",le="1"}',
        'soundleap_stage_seconds_count{model="untrained",stage="network"}',
        'soundleap_stage_seconds_count{model="untrained",stage="queue"}',
        'soundleap_stage_seconds_count{model="untrained",stage="encode"}',
        'soundleap_real_time_factor_sum{model="untrained"}',
        'soundleap_requests_total{route="/v1/audio/generate",status="200"}',
    ):
        assert f"\n{line}" in text
    assert server.client.get("/health/live").json() == {"status": "alive"}


def test_the_first_page_says_something_and_loads_nothing_from_elsewhere(server):
    answer = server.client.get("/")

    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

STEPS = {"num_inference_steps": 1, "seed": 7}


def test_elevenlabs_body_gives_an_mp3_at_the_rate_asked_for(server):
    answer = server.post("/v1/sound-generation", text="a dog barks", duration_seconds=0.5, **STEPS)

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-sampling-rate"] == "44100"
    assert answer.headers["x-resampled-from"] == "16000"
    assert soundfile.info(io.BytesIO(answer.content)).samplerate == 44100


def test_elevenlabs_pcm_at_the_models_rate_is_not_resampled(server):
    body = {"text": "a dog barks", "duration_seconds": 0.5, **STEPS}
    answer = server.client.post(
        "/v1/sound-generation?output_format=pcm_16000&enable_logging=false", json=body
    )
    ours = server.sound(prompt="a dog barks", duration_in_s=0.5, **STEPS)

    assert "x-resampled-from" not in answer.headers
    samples = soundfile.read(io.BytesIO(ours.content), dtype="int16")[0]
    assert np.array_equal(np.frombuffer(answer.content, "<i2"), samples)


@pytest.mark.parametrize(
    ("influence", "scale"), [(0.0, "1"), (0.3, "2.5"), (1.0, "6"), (None, "3")]
)
def test_prompt_influence_goes_from_the_lowest_to_the_highest_guidance(
    server, influence: float | None, scale: str
):
    body = {"text": "rain", "duration_seconds": 0.5, "prompt_influence": influence, **STEPS}

    answer = server.post("/v1/sound-generation", model_id="eleven_text_to_sound_v2", **body)

    assert answer.headers["x-guidance-scale"] == scale


@pytest.mark.parametrize(
    ("changes", "query", "field", "message"),
    [
        ({"loop": True}, "", "loop", "loop is true; allowed: false"),
        ({"duration_seconds": 22.0}, "", "duration_seconds",
         "duration_seconds is 22 s; allowed: 0.5 to 10 s"),
        ({"prompt_influence": 2}, "", "prompt_influence",
         "prompt_influence is 2; allowed: at most 1"),
        ({"text": ""}, "", "text", "text is empty"),
        ({"model_id": "other"}, "", "model", "unknown model 'other'"),
        ({}, "?output_format=mp3_8000_8", "output_format",
         "output_format is 'mp3_8000_8'; allowed: mp3_22050_32"),
    ],
)  # fmt: skip
def test_elevenlabs_fields_are_named_in_errors(
    server, changes: dict[str, object], query: str, field: str, message: str
):
    answer = server.post(f"/v1/sound-generation{query}", **{"text": "rain", **changes})

    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == field


def test_openai_body_gives_the_same_sound_as_ours(server):
    answer = server.post(
        "/v1/audio/speech", model="untrained", input="a dog barks", voice="alloy",
        response_format="wav", speed=1.0, duration_in_s=0.5, **STEPS,
    )  # fmt: skip
    ours = server.sound(prompt="a dog barks", duration_in_s=0.5, **STEPS)

    assert answer.content == ours.content


def test_openai_pcm_has_openais_rate(server):
    answer = server.post(
        "/v1/audio/speech", input="rain", voice={"id": "x"}, response_format="pcm",
        duration_in_s=0.5, **STEPS,
    )  # fmt: skip

    assert answer.headers["x-sampling-rate"] == "24000"
    assert len(answer.content) == 24000
    refused = server.post("/v1/audio/speech", input="rain", voice="alloy", response_format="aac")
    assert refused.json()["error"]["param"] == "response_format"


@pytest.mark.slow
def test_the_official_sdks_work_against_it(server):
    elevenlabs = pytest.importorskip("elevenlabs", reason="its SDK is not installed")
    openai = pytest.importorskip("openai", reason="its SDK is not installed")

    client = elevenlabs.ElevenLabs(api_key="anything-at-all", base_url=server.url)
    parts = client.text_to_sound_effects.convert(
        text="a dog barks", duration_seconds=0.5, prompt_influence=0.3
    )
    assert soundfile.info(io.BytesIO(b"".join(parts))).samplerate == 44100

    speech = openai.OpenAI(api_key="anything-at-all", base_url=f"{server.url}/v1")
    assert [model.id for model in speech.models.list()] == ["untrained"]
    answer = speech.audio.speech.create(
        model="untrained", voice="alloy", input="a dog barks", extra_body={"duration_in_s": 0.5}
    )
    assert soundfile.info(io.BytesIO(answer.content)).samplerate == 16000
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        speech.audio.speech.create(model="other", voice="alloy", input="rain")
    assert caught.value.param == "model"

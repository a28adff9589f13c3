from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.generator import Generator, Request, batches
from soundleap.pipeline import TextToAudio
from soundleap.requests import Sample

REQUESTS = [
    Request("rain", duration_in_s=0.6, seed=1),
    Request("a dog barks", duration_in_s=0.9, num_inference_steps=4, seed=2),
    Request("wind", duration_in_s=1.0, seed=3),
    Request("bell", duration_in_s=0.6, seed=4, negative_prompt="a car"),
    Request("rain", duration_in_s=0.6, seed=5, network="teacher", num_inference_steps=3),
    Request("thunder", duration_in_s=0.6, seed=6, guidance_scale=1.5),
]


def sample(seconds: float, steps: int = 2, negative: str | None = None) -> Sample:
    return Sample("rain", negative, seconds, steps, 3.0, 0, "student")


def test_batches_keep_what_can_run_together() -> None:
    samples = [sample(1), sample(2, steps=4), sample(3), sample(1, negative="x"), sample(2)]
    assert batches(samples, 8) == [[2, 4, 0], [1], [3]]
    assert batches(samples, 2) == [[2, 4], [0], [1], [3]]
    assert batches([], 2) == []


@pytest.mark.parametrize("max_batch_size", [1, 2, 8])
def test_results_are_in_order_and_independent_of_batches(
    pipeline: TextToAudio, max_batch_size: int
) -> None:
    results = Generator(pipeline, max_batch_size=max_batch_size).generate(REQUESTS)
    assert [result.seed for result in results] == [1, 2, 3, 4, 5, 6]
    for request, result in zip(REQUESTS, results, strict=True):
        alone = pipeline(
            request.prompt,
            negative_prompt=request.negative_prompt,
            duration_in_s=request.duration_in_s,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            seed=request.seed,
            network=request.network,
        )
        np.testing.assert_allclose(result.waveform, alone.audios[0], atol=1e-4)
        assert result.metadata["prompt"] == request.prompt
        assert result.sampling_rate == 16000
        assert set(result.seconds) == {"load", "text", "network", "codec", "vocoder"}


def test_nothing_is_made_when_one_request_is_wrong(pipeline: TextToAudio) -> None:
    generator = Generator(pipeline)
    with pytest.raises(InputError, match="request 2 of 2: num_inference_steps is 9"):
        generator.stream([REQUESTS[0], Request("rain", num_inference_steps=9)])
    assert generator.generate([]) == []


def test_warm_up_loads_the_network(untrained_folder: Path) -> None:
    generator = Generator(untrained_folder, device="cpu")
    generator.warm_up()
    generator.warm_up("teacher")
    assert generator.pipeline.network("teacher") is generator.pipeline.network("teacher")
    with pytest.raises(InputError, match="max_batch_size is 0"):
        Generator(untrained_folder, max_batch_size=0)


def test_on_a_cpu_a_sample_is_the_same_to_the_bit_in_any_list(pipeline: TextToAudio) -> None:
    together = Generator(pipeline).generate(REQUESTS)
    for request, result in zip(REQUESTS, together, strict=True):
        alone = Generator(pipeline).generate([request])[0]
        assert (alone.waveform == result.waveform).all()

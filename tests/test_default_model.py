from __future__ import annotations

import numpy as np
import pytest

from soundleap import TextToAudio
from soundleap.resolve import KNOWN_MODELS

pytestmark = pytest.mark.skipif(
    not KNOWN_MODELS["default"].folder.exists(), reason="this checkout holds no default model"
)


@pytest.fixture(scope="module")
def model() -> TextToAudio:
    return TextToAudio.from_pretrained(device="cpu")


def test_every_file_is_whole(model: TextToAudio) -> None:
    model.bundle.verify()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_batch_changes_nothing(model: TextToAudio, steps: int) -> None:
    prompts, durations = ["rain on a tin roof", "a dog barks"], [2.0, 1.0]
    settings = {"num_inference_steps": steps, "seed": 7}
    together = model(prompts, duration_in_s=durations, **settings)
    alone = model(prompts[0], duration_in_s=durations[0], **settings)
    again = model(prompts[0], duration_in_s=durations[0], **settings)
    assert np.array_equal(alone.audios[0], again.audios[0])
    np.testing.assert_allclose(together.audios[0], alone.audios[0], atol=1e-3)


def test_sounds_are_neither_silent_nor_clipped(model: TextToAudio) -> None:
    output = model(["rain", "a dog barks", "a piano"], duration_in_s=2.0, seed=1)
    for audio in output.audios:
        assert 0.01 < np.abs(audio).max() <= 1.0

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundleap.errors import InputError
from soundleap.generator import Generator

FILE = Path(__file__).parents[1] / "examples" / "gradio_app.py"


@pytest.fixture(scope="module")
def app() -> Any:
    spec = importlib.util.spec_from_file_location("gradio_app", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing_the_app_imports_no_gradio(app: Any):
    assert callable(app.page)
    assert "gradio" not in sys.modules


def test_what_the_page_holds_becomes_a_request(app: Any):
    asked = app.request("rain", 2.0, "best: 4 steps", 3.0, " 7 ")

    assert (asked.network, asked.num_inference_steps, asked.seed) == ("student", 4, 7)
    assert 0 <= app.read_seed("") < 2**32


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "²"])
def test_seeds_that_are_none_are_refused(app: Any, seed: str):
    with pytest.raises(InputError, match="seed"):
        app.read_seed(seed)


def test_a_sound_comes_as_16_bit_samples(app: Any, untrained_folder: Path, monkeypatch: Any):
    small = Generator(untrained_folder, device="cpu")
    monkeypatch.setattr(app, "generator", lambda: small)

    (rate, samples), seed = app.make("rain", 1.0, "fast: 1 step", 3.0, "7")

    assert (samples.dtype, samples.shape, seed) == (np.int16, (rate,), "7")

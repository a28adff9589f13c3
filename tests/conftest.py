from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose parts are real, small and random; don't write into it."""
    from soundleap.debug import write_untrained_bundle

    return write_untrained_bundle(tmp_path_factory.mktemp("models") / "untrained").folder


@pytest.fixture(scope="session")
def pipeline(untrained_folder: Path):
    """The untrained model, loaded; don't change it."""
    from soundleap.pipeline import TextToAudio

    return TextToAudio.from_pretrained(untrained_folder, device="cpu")


@pytest.fixture
def fresh_pipeline(untrained_folder: Path):
    """The untrained model, loaded for this test only."""
    from soundleap.pipeline import TextToAudio

    return TextToAudio.from_pretrained(untrained_folder, device="cpu")

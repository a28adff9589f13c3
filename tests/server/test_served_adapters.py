"""Adapters of a server: the first model has them, the others do not, and sounds tell."""

from __future__ import annotations

import pytest

from adapter_files import write_random_adapter
from soundleap.bundle import Bundle
from soundleap.debug import write_untrained_bundle
from soundleap.errors import InputError
from soundleap.server.models import served_models

SHORT = {"prompt": "a tone", "duration_in_s": 0.5, "num_inference_steps": 1, "seed": 1}


def test_adapters_change_the_first_model_alone(start, settings, untrained_folder, tmp_path):
    file = write_random_adapter(tmp_path / "tone.safetensors", Bundle(untrained_folder))
    other = write_untrained_bundle(tmp_path / "other", seed=1)
    served = {"models": (str(untrained_folder), str(other.folder)), "adapters": ((file, 0.5),)}
    server = start(**served)
    ids = [entry["id"] for entry in server.client.get("/v1/models").json()["data"]]
    first, second = (
        server.finished(server.job(**SHORT, model=model))["takes"][0]["metadata"] for model in ids
    )
    assert [(a["name"], a["weight"]) for a in first["adapters"]] == [("tone", 0.5)]
    assert "adapters" not in second
    with pytest.raises(InputError, match="given twice"):
        served_models(settings(**{**served, "adapters": ((file, 0.5), (file, 1.0))}))

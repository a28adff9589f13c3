from __future__ import annotations

import json
import subprocess
import sys

import pytest

import soundleap

HEAVY = ("torch", "transformers", "diffusers", "scipy", "matplotlib", "huggingface_hub", "rich")
AT_GENERATION = ("transformers", "diffusers", "scipy", "matplotlib", "torch._dynamo")


def modules_after(code: str, names: tuple[str, ...]) -> list[str]:
    """Run code in a new interpreter and say which of the modules it imported."""
    check = f"import json, sys; print(json.dumps([n for n in {names!r} if n in sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import soundleap",
        "import soundleap.cli.main",
        "from soundleap.cli.main import main; assert main(['--help']) == 0",
        "from soundleap.cli.main import main; assert main(['generate', '--help']) == 0",
        "from soundleap.cli.main import main; assert main(['show', 'nothing.wav']) == 1",
        "from soundleap.cli.main import main; assert main(['models']) == 0",
        "from soundleap.cli.main import main; assert main(['generate', '']) != 0",
        "from soundleap import Request, read_metadata, InputError",
    ],
)
def test_light_imports(code: str) -> None:
    assert modules_after(code, HEAVY) == []


def test_generation_needs_only_torch(untrained_folder: object) -> None:
    code = (
        "from soundleap import TextToAudio\n"
        f"TextToAudio.from_pretrained({str(untrained_folder)!r})('rain', duration_in_s=0.5)"
    )
    assert modules_after(code, AT_GENERATION) == []


def test_every_public_name_is_there() -> None:
    for name in soundleap.__all__:
        assert getattr(soundleap, name) is not None
    assert dir(soundleap) == sorted(soundleap.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = soundleap.nonsense

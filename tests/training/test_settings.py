"""Settings: presets, overrides, and errors that name every fault."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml

from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.training.assemble import provenance_of
from soundleap.training.cache import CacheSettings
from soundleap.training.codec import CodecSettings
from soundleap.training.distillation import DistillationSettings
from soundleap.training.settings import PRESETS, RunSettings, as_dict, load_settings, stage_name
from soundleap.training.teacher import TeacherSettings
from soundleap.training.vocoder import VocoderSettings

KINDS = {
    "codec": CodecSettings,
    "cache": CacheSettings,
    "vocoder": VocoderSettings,
    "teacher": TeacherSettings,
    "distill": DistillationSettings,
}
COMMANDS = {
    "codec": ["train", "codec"],
    "cache": ["data", "cache"],
    "vocoder": ["train", "vocoder"],
    "teacher": ["train", "teacher"],
    "distill": ["distill"],
}


@pytest.mark.parametrize("stage", KINDS)
@pytest.mark.parametrize("size", ["default", "tiny"])
def test_presets_fit_their_stage_and_stay_inside_runs(stage: str, size: str) -> None:
    settings = load_settings(KINDS[stage], f"{size}-{stage}")
    assert settings.run_dir.startswith(f"runs/{size}/")
    path = PRESETS / f"{size}-{stage}.yaml"
    assert yaml.safe_load(path.read_text())["stage"] == stage_name(KINDS[stage])


@pytest.mark.parametrize("stage", KINDS)
def test_dry_run_prints_a_preset_and_does_nothing(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*COMMANDS[stage], f"default-{stage}", "seed=7", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    path = tmp_path / "printed.yaml"
    path.write_text(text)
    again = load_settings(KINDS[stage], str(path))
    assert again.seed == 7
    assert again == load_settings(KINDS[stage], f"default-{stage}", ["seed=7"])


def test_values_are_yaml_in_which_no_is_a_word_and_1e_3_a_number() -> None:
    settings = load_settings(
        TeacherSettings,
        "default-teacher",
        ["mixed_precision=no", "learning_rate=2e-3", "preview_prompts=[rain]", "max_minutes=null"],
    )
    assert settings.mixed_precision == "no"
    assert settings.learning_rate == 2e-3
    assert settings.preview_prompts == ("rain",)
    assert settings.max_minutes is None


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown setting 'widht'; did you mean 'width'\?"):
        load_settings(TeacherSettings, "default-teacher", ["widht=3"])


def test_all_faults_come_at_once() -> None:
    bad = ["widht=3", "iterations=many", "blocks", "heads=[1"]
    with pytest.raises(InputError) as caught:
        load_settings(TeacherSettings, "default-teacher", bad)
    for part in ("'widht'", "iterations: ", "'blocks' is not of the form", "'heads=[1'"):
        assert part in str(caught.value)


def test_all_values_out_of_range_come_at_once() -> None:
    bad = ["iterations=0", "decay_share=2", "skip_points=60", "guidance_range=[6, 1]", "threads=0"]
    with pytest.raises(InputError) as caught:
        load_settings(DistillationSettings, "default-distill", bad)
    for part in ("iterations is 0", "decay_share is 2", "skip_points is 60; allowed: 1 to",
                 "guidance_range is 6 to 1", "threads is 0"):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (
            TeacherSettings,
            ["drop_text=2", "ema=1.5", "blocks=0", "heads=3", "accumulation=0"],
            "accumulation is 0; it must be above 0; drop_text is 2; allowed: 0 to 1; "
            "ema is 1.5; allowed: 0 to 1; blocks is 0; it must be above 0; "
            r"width is \d+; it must be a multiple of twice the heads \(3\)",
        ),
        (
            VocoderSettings,
            ["true_mel_share=-1", "crop_frames=0"],
            "true_mel_share is -1; allowed: 0 to 1; crop_frames is 0; it must be above 0",
        ),
    ],
)
def test_sizes_and_shares_that_are_none(
    kind: type[RunSettings], bad: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(kind, f"default-{stage_name(kind)}", bad)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("iterations=2.5", "iterations: .*integer"),
        ("learning_rate=fast", r"learning_rate: .*number.*\(got 'fast'\)"),
        ("mixed_precision=fp16", "mixed_precision is 'fp16'; allowed: no, bf16"),
        ("prediction=x", "prediction: .*'eps', 'v' or 'x0'"),
        ("learning_rate=.nan", "learning_rate is nan"),
    ],
)
def test_bad_values(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(TeacherSettings, "default-teacher", [override])


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("run_dir: x\n")
    with pytest.raises(InputError, match=r"cache: missing; heldout_cache: missing; codec: missing"):
        load_settings(TeacherSettings, str(path))


@pytest.mark.parametrize(
    ("text", "message"), [("- 1\n", "must hold key: value"), ("a: [", "not valid YAML")]
)
def test_a_preset_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_settings(TeacherSettings, str(path))


def test_unknown_presets_and_those_of_other_stages() -> None:
    with pytest.raises(InputError, match="did you mean 'default-teacher'"):
        load_settings(TeacherSettings, "defaultteacher")
    with pytest.raises(InputError, match="is for `vocoder`, not for `teacher`"):
        load_settings(TeacherSettings, "default-vocoder")
    with pytest.raises(InputError, match="can't read preset"):
        load_settings(TeacherSettings, "nowhere.yaml")


def test_the_command_ends_with_2_on_a_bad_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "teacher", "default-teacher", "widht=3"]) == 2
    assert "did you mean 'width'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS.values())
def test_settings_become_plain_values(kind: type) -> None:
    stage = next(name for name, value in KINDS.items() if value is kind)
    settings = load_settings(kind, f"default-{stage}")
    values = as_dict(settings)
    assert yaml.safe_load(yaml.safe_dump(values)) == values
    assert set(values) == {field.name for field in dataclasses.fields(kind)}


def test_provenance_keeps_no_folders_and_is_json(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "student"
    folder.mkdir(parents=True)
    values = {
        "captions": "/home/me/lists/captions.txt", "weighting_gamma": math.inf,
        "rewards": [{"name": "clap", "weights": "/home/me/models/clap", "weight": 0.1}],
    }  # fmt: skip
    (folder / "settings.yaml").write_text(yaml.dump(values), encoding="utf-8")
    found = provenance_of(tmp_path / "runs")["stages"]["student"]
    assert found == {
        "captions": "lists/captions.txt", "weighting_gamma": "inf",
        "rewards": [{"name": "clap", "weights": "models/clap", "weight": 0.1}],
    }  # fmt: skip
    json.dumps(found, allow_nan=False)

"""What a student's model folder says and holds, and what is refused before it is written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from toy_runs import Toy

from soundleap.bundle_schema import Sampling
from soundleap.diffusion.sampling import (
    consistency_timesteps,
    sample_consistency,
    sample_generators,
)
from soundleap.errors import InputError
from soundleap.latents import Conditions, LatentSampler
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.registry import load_network
from soundleap.models.store import save_module
from soundleap.training.assemble import Figures, assemble_bundle, sampling_of
from soundleap.training.assemble_student import assemble_student
from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.objectives import ConsistencyObjective
from soundleap.training.records import write_settings


def write_run(settings: DistillationSettings) -> Path:
    run = Path(settings.run_dir)
    run.mkdir(parents=True)
    write_settings(run, settings)
    DistillationStory(settings, progress=False).export(run)
    return run


@pytest.fixture
def vocoder(tmp_path: Path) -> str:
    path = tmp_path / "runs" / "vocoder" / "vocoder.safetensors"
    path.parent.mkdir(parents=True)
    module = ISTFTVocoder(ISTFTVocoderConfig(width=16, blocks=1))
    save_module(path, module, asdict(module.config))
    return str(path)


def test_both_ways_of_one_student_say_the_same(toy: Toy, vocoder: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, file in (("codec", toy.codec), ("teacher", toy.teacher)):
        (runs / name).mkdir()
        (runs / name / f"{name}.safetensors").write_bytes(Path(file).read_bytes())
    run = write_run(
        toy.distillation_settings(
            runs / "student", vocoder=vocoder, guidance_range=(4, 6), grid_points=25,
            boundary="identity", bottom_rule="data", student_prediction="x0", top_rule="noise",
        )
    )  # fmt: skip
    one = assemble_bundle(tmp_path / "one", runs, Figures()).manifest
    two = assemble_student(tmp_path / "two", run, Figures(licence="CC0-1.0"))
    assert two.manifest.sampling == one.sampling
    assert (one.name, one.licence) == ("default", "Apache-2.0")
    assert (two.manifest.name, two.manifest.licence) == ("student", "CC0-1.0")
    sampling = one.sampling
    assert (sampling.prediction, sampling.student_prediction) == ("v", "x0")
    assert (sampling.boundary, sampling.initial_noise) == ("identity", "schedule")
    assert sampling.default_guidance_scale == 4.0
    assert sampling.grid == tuple(range(39, 1000, 40))
    for name in ("codec", "vocoder", "teacher"):  # copied as they are: float32
        assert getattr(two.manifest.parts, name).dtype == "float32"
    again, trained = two.load_network("student"), load_network(run / "student.safetensors")
    assert all(map(torch.equal, again.state_dict().values(), trained.state_dict().values()))


@pytest.mark.parametrize("told", ["input", "none"])
def test_a_model_asks_its_student_as_training_did(
    toy: Toy, vocoder: str, tmp_path: Path, told: str
) -> None:
    settings = toy.distillation_settings(
        tmp_path / "run", vocoder=vocoder, guidance_embedding=told, guidance_range=(2, 2),
        student_prediction="x0", sigma_data=0.3, timestep_scaling=0.01, top_rule="noise",
    )  # fmt: skip
    run = write_run(settings)
    story = DistillationStory(settings, progress=False)
    model = assemble_student(tmp_path / "model", run, Figures(licence="CC0-1.0"))
    sampling = model.manifest.sampling
    states = model.load_text().encode(["rain", "", ""])
    w = torch.full((1,), 2.0)
    asked = Conditions(states.embeds[:, None], states.mask[:, None], w, False, [6])
    times = consistency_timesteps(torch.tensor(sampling.grid), 2)
    found = LatentSampler(model.load_network("student"), sampling, None).student(
        asked, times, sample_generators([0])
    )
    generators = sample_generators([0])
    noise = torch.randn(1, 16, 6, generator=generators[0]) * story.schedule.sigma(999)
    assert isinstance(story.objective, ConsistencyObjective)
    with torch.no_grad():
        f = story.objective.function(story.average, asked.of(0), w)
        wanted = sample_consistency(f, noise.float(), times, story.schedule, generators)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_file_by_itself_has_no_licence_and_may_have_no_vocoder(
    toy: Toy, vocoder: str, tmp_path: Path
) -> None:
    run = write_run(toy.distillation_settings(tmp_path / "a", vocoder=vocoder))
    with pytest.raises(InputError, match=r"whose licence is not known; give --licence"):
        assemble_student(tmp_path / "model", run, Figures())
    bare = write_run(toy.distillation_settings(tmp_path / "b"))
    with pytest.raises(InputError, match="no vocoder is known"):
        assemble_student(tmp_path / "model", bare, Figures(licence="CC0-1.0"))
    assert not (tmp_path / "model").exists()


def test_runs_before_a_run_are_told_but_for_a_model_it_starts_from(
    toy: Toy, vocoder: str, tmp_path: Path
) -> None:
    first = write_run(toy.distillation_settings(tmp_path / "first", vocoder=vocoder))
    model = assemble_student(tmp_path / "model", first, Figures(licence="CC0-1.0")).folder
    (tmp_path / "settings.yaml").write_text("stage: not the model's\n")  # beside it
    start = str(first / "student.safetensors")
    settings = toy.distillation_settings(tmp_path / "second", vocoder=vocoder, start=start)
    for name, begun, starts in (("second", start, 2), ("third", str(model), 1)):
        run = write_run(
            toy.distillation_settings(tmp_path / name, vocoder=settings.vocoder, start=begun)
        )
        made = assemble_student(tmp_path / f"{name}-model", run, Figures(licence="CC0-1.0"))
        stages = made.manifest.provenance["stages"]
        assert [*stages] == [f"student-{n}" for n in range(1, starts + 1)]
        assert stages[f"student-{starts}"]["start"].split("/")[-1] == Path(begun).name


def test_who_is_asked_in_few_steps(toy: Toy, tmp_path: Path) -> None:
    settings = toy.distillation_settings(
        tmp_path, guidance_embedding="none", guidance_range=(2, 2), guidance_form="lcm"
    )
    sampling = sampling_of(settings, Figures(), Sampling(max_duration_in_s=7.0))
    assert not sampling.student_guided
    assert sampling.guidance_range == (3.0, 3.0)
    assert sampling.max_duration_in_s == 7.0
    with pytest.raises(InputError, match="steps is 9; allowed: 1 to 8"):
        sampling_of(settings, Figures(default_steps=9))
    with pytest.raises(InputError, match="default_guidance_scale is 4"):
        sampling_of(settings, Figures(default_guidance_scale=4.0))
    guided = DistillationSettings(
        run_dir="x", cache="x", teacher="x.safetensors", objective="guided", skip_points=5
    )
    with pytest.raises(InputError, match="objective guided and takes as many steps"):
        sampling_of(guided, Figures())

"""Rewards in distillation with a small text-audio model: what they do, what is told of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_runs import Toy, assert_same_run

from soundleap.audio.mel import MelConfig
from soundleap.errors import BundleError, InputError
from soundleap.models.text_audio import TextAudioModel
from soundleap.models.text_audio_towers import TextAudioConfig
from soundleap.training.assemble import provenance_of
from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.loop import generator_for, train
from soundleap.training.rewards.apply import mean_scores
from soundleap.training.rewards.base import RewardSettings, RewardTerm
from soundleap.training.rewards.hook import RewardedDraws, rewarded
from soundleap.training.rewards.ours import OurReward, open_ours
from soundleap.training.rewards.record import joined, rewards_of, write_rewards
from soundleap.training.settings import load_settings

SMALL = TextAudioConfig(
    stem=(4, 4, 4), width=16, blocks=1, kernel=3, expansion=1, text_hidden=8, dim=8
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("text-audio")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        TextAudioModel(SMALL).save(folder / "model.safetensors")
    return str(folder)


def settings(toy: Toy, weights: str, run_dir: Path, **changes: Any) -> DistillationSettings:
    term = {"name": "ours", "weight": 0.5, "weights": weights, **changes.pop("term", {})}
    values = {"rewards": [term], "drop_text": 0.3, "batch_size": 240, **changes}
    return toy.distillation_settings(run_dir, **values)


def story(*args: Any, **changes: Any) -> DistillationStory:
    return DistillationStory(settings(*args, **changes), progress=False)


def costs(story: DistillationStory, seed: int = 0) -> tuple[Any, Any, dict[str, Tensor]]:
    generator = generator_for(seed, 0)
    batch = story.batches(0, generator)
    draws = story.draw(batch, generator)
    return batch, draws, story.losses(batch, draws)


def test_the_loss_is_that_of_distillation_less_the_weighed_rewards(
    toy: Toy, weights: str, tmp_path: Path
) -> None:
    made = story(toy, weights, tmp_path / "run")
    batch, draws, found = costs(made)
    told = torch.tensor([1.0 if word else 0.0 for word in batch.words])
    assert 0 < told.sum() < len(told)
    assert torch.equal(found["rewarded"], told)
    assert not found["reward/ours"][told == 0].any()
    assert bool((found["reward/ours"].abs() <= 1.001).all())
    expected = found["distillation"] - 0.5 * found["reward/ours"]
    torch.testing.assert_close(found["loss"].detach(), expected)
    plain = DistillationStory(replace(made.settings, rewards=()), progress=False)
    torch.testing.assert_close(
        plain.losses(batch, draws.objective)["loss"].detach(), found["distillation"]
    )


def test_a_batch_costs_what_its_parts_do(toy: Toy, weights: str, tmp_path: Path) -> None:
    made = story(toy, weights, tmp_path / "run", term={"term": "both"})
    batch, draws, whole = costs(made)
    assert isinstance(draws, RewardedDraws)
    for i in range(len(batch)):
        part = made.losses(batch.part(slice(i, i + 1)), draws.part(slice(i, i + 1)))
        for name, value in part.items():
            torch.testing.assert_close(value[0], whole[name][i], rtol=1e-4, atol=1e-5)


def told_of(made: DistillationStory, batch: Any, ours: Tensor, seeds: Tensor) -> Tensor:
    """Return the rewards of answers that no network gave."""
    count = len(batch)
    terms = SimpleNamespace(
        ours=ours, loss=torch.zeros(count), weight=torch.ones(count), t=torch.full((count,), 999.0)
    )
    assert made.rewards is not None
    return rewarded(made.rewards, terms, batch, seeds)["reward/ours"]  # pyright: ignore


def test_padding_is_not_heard(toy: Toy, weights: str, tmp_path: Path) -> None:
    made = story(toy, weights, tmp_path / "run", drop_text=0.0, term={"term": "both"})
    batch, draws, _ = costs(made)
    assert batch.mask is not None
    assert not batch.mask.all()
    noisy = torch.where(batch.mask[:, None], batch.x_0, 5.0)
    plain, other = (told_of(made, batch, ours, draws.seeds) for ours in (batch.x_0, noisy))
    torch.testing.assert_close(plain, other, rtol=0, atol=0)


def test_an_answer_that_is_the_recording_is_like_it_and_noise_is_its_own(
    toy: Toy, weights: str, tmp_path: Path
) -> None:
    made = story(toy, weights, tmp_path / "audio", drop_text=0.0, term={"term": "audio"})
    batch, draws, _ = costs(made)
    same = told_of(made, batch, batch.x_0, draws.seeds)
    torch.testing.assert_close(same, torch.ones(len(batch)))
    other = told_of(made, batch, torch.zeros_like(batch.x_0), draws.seeds)
    assert bool((other < 0.9999).all())
    text = story(toy, weights, tmp_path / "text", drop_text=0.0)
    one, again, another = (
        told_of(text, batch, batch.x_0, seeds)
        for seeds in (draws.seeds, draws.seeds.clone(), draws.seeds + 1)
    )
    assert torch.equal(one, again)
    assert bool((one != another).all())


def test_means_are_of_what_was_scored() -> None:
    means = {"reward/ours": 0.1, "rewarded": 0.5, "loss": 3.0}
    found = mean_scores({name: torch.tensor(value) for name, value in means.items()})
    assert {name: round(float(value), 6) for name, value in found.items()} == {
        **means, "reward/ours": 0.2
    }  # fmt: skip


def test_low_times_and_weights_by_time(toy: Toy, weights: str, tmp_path: Path) -> None:
    made = story(toy, weights, tmp_path / "a", reward_from_t=500.0, drop_text=0.0)
    heard: list[Tensor] = []
    for seed in range(4):
        _, draws, found = costs(made, seed)
        t = made.objective.interval_times(draws.objective.interval)[0]  # pyright: ignore
        assert torch.equal(found["rewarded"].bool(), t >= 500)
        heard.append(found["rewarded"])
    assert 0 < float(torch.cat(heard).mean()) < 1
    weighed = story(
        toy, weights, tmp_path / "b", weighting="min_snr_x0", reward_weighting="as_loss"
    )
    _, draws, found = costs(weighed)
    t = weighed.objective.interval_times(draws.objective.interval)[0]  # pyright: ignore
    weight = weighed.objective.weight(t).float()  # pyright: ignore
    expected = found["distillation"] - 0.5 * weight * found["reward/ours"]
    torch.testing.assert_close(found["loss"].detach(), expected)


def test_rewards_raise_the_score(toy: Toy, weights: str, tmp_path: Path) -> None:
    made = story(
        toy, weights, tmp_path / "run", iterations=20, learning_rate=3e-3, weight_decay=0.0,
        drop_text=0.0, log_iterations=10, term={"weight": 5.0},
    )  # fmt: skip

    held = [costs(made, seed)[:2] for seed in range(4)]

    def score() -> float:
        with torch.no_grad():
            found = [made.losses(batch, draws)["reward/ours"].mean() for batch, draws in held]
        return float(torch.stack(found).mean())

    before = score()
    train(made, progress=False)
    assert score() > before + 0.1
    lines = [json.loads(x) for x in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert {"reward/ours", "rewarded", "distillation"} <= lines[-1].keys()
    assert lines[-1]["rewarded"] == 1
    network = TextAudioModel.from_folder(weights).weights_sha256
    assert rewards_of(tmp_path / "run" / "student.safetensors") == [
        {"name": "ours", "network": f"ours:{network}"}
    ]


def test_a_resumed_run_with_rewards_equals_a_straight_one(
    toy: Toy, weights: str, tmp_path: Path
) -> None:
    straight = settings(toy, weights, tmp_path / "straight", iterations=4)
    train(DistillationStory(straight, progress=False), progress=False)
    stopped = replace(straight, run_dir=str(tmp_path / "stopped"))
    part = replace(stopped, max_minutes=1e-9)
    for each in (part, part, stopped):
        train(DistillationStory(each, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    again = load_settings(DistillationSettings, str(tmp_path / "stopped" / "settings.yaml"))
    assert again.rewards == straight.rewards


def test_networks_are_remembered_from_student_to_student(
    toy: Toy, weights: str, tmp_path: Path
) -> None:
    first = story(toy, weights, tmp_path / "first")
    (tmp_path / "first").mkdir()
    first.export(tmp_path / "first")
    start = str(tmp_path / "first" / "student.safetensors")
    second = toy.distillation_settings(tmp_path / "second", start=start)
    (tmp_path / "second").mkdir()
    DistillationStory(second, progress=False).export(tmp_path / "second")
    found = rewards_of(tmp_path / "second" / "student.safetensors")
    (tmp_path / "second").rename(tmp_path / "student")
    assert provenance_of(tmp_path)["rewards"] == found
    assert "rewards" not in provenance_of(tmp_path / "student")
    assert found == rewards_of(Path(start))
    assert len(found) == 1
    assert joined(found, found) == found
    model = tmp_path / "model"
    model.mkdir()
    assert rewards_of(model / "student.safetensors") == []
    (model / "soundleap.json").write_text(json.dumps({"provenance": {"rewards": found}}))
    assert rewards_of(model / "student.safetensors") == found
    (model / "soundleap.json").write_text("{}")
    assert rewards_of(model / "student.safetensors") == []
    write_rewards(model, [])
    assert not (model / "rewards.json").exists()
    (model / "rewards.json").write_text("[1]")
    with pytest.raises(BundleError, match="can't read which networks gave rewards"):
        rewards_of(model / "student.safetensors")


def test_faults_of_settings_are_told_at_once() -> None:
    faulty = RewardSettings(
        rewards=(
            RewardTerm(name="hours"), RewardTerm(name="clap", weight=0.0),
            RewardTerm(name="ours", weights="a"), RewardTerm(name="ours", weights="b"),
        ),
        reward_from_t=1000.0,
    ).reward_faults()  # fmt: skip
    assert "did you mean 'ours'" in faulty[0]
    assert faulty[1:] == [
        "weight of reward clap is 0; it must be above 0",
        "reward clap needs weights=PATH (Soundleap never downloads them)",
        "rewards names ours twice; give it once, with term=both for both terms",
        "reward_from_t is 1000; allowed: 0 to below 1000",
    ]


def test_what_can_not_be_rewarded_is_refused(toy: Toy, weights: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="objective is guided, whose answers are no sounds"):
        settings(toy, weights, tmp_path, objective="guided", solver_steps=4, top_rule="unit_noise")
    with pytest.raises(InputError, match="reward ours: there is nothing at weights="):
        story(toy, str(tmp_path / "none"), tmp_path / "run")
    term = RewardTerm(name="ours", weights=weights)
    with pytest.raises(InputError, match="hears 16000 Hz but the codec makes 24000 Hz"):
        open_ours(term, MelConfig(sampling_rate=24000))


def test_a_codec_of_another_mel_is_heard_by_its_waveforms(weights: str) -> None:
    model = TextAudioModel.from_folder(weights)
    sound = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    waves = OurReward(model, "text", MelConfig(n_mels=64))
    mels = OurReward(model, "text", MelConfig())
    assert (waves.needs, mels.needs) == ("waveform", "mel")
    prompts = ["rain", "a dog barks"]
    scores = waves(sound, prompts, None)
    torch.testing.assert_close(scores, mels(model.mel(sound), prompts, None))
    torch.testing.assert_close(scores, model.score(sound, prompts))


def test_the_preset_is_valid() -> None:
    made = load_settings(DistillationSettings, "default-reward")
    assert [term.name for term in made.rewards] == ["ours"]
    assert made.reward_from_t > 0

"""CLAP as a reward: its front-end, its resampling, and gradients through a whole chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from soundleap.audio.dc import remove_dc
from soundleap.audio.mel import AUDIOLDM_MEL, MelConfig
from soundleap.audio.sinc_resample import BETA, ROLLOFF, sinc_resample
from soundleap.errors import BundleError, InputError
from soundleap.evaluation.embedders.clap import open_clap as open_embedder
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig
from soundleap.training.decoding import SoundDecoder
from soundleap.training.rewards.apply import Answers, Rewards
from soundleap.training.rewards.base import RewardSettings, RewardTerm
from soundleap.training.rewards.clap import ClapReward, open_clap
from soundleap.training.rewards.clap_frontend import ClapFrontEnd
from soundleap.training.rewards.sounds import Sounds

transformers = pytest.importorskip("transformers")
PROMPTS = ["a dog barks", "rain", "rain"]
RATE = 16000


def clap_model(fusion: bool = False) -> Any:
    torch.manual_seed(0)
    audio = {
        "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1],
        "num_attention_heads": [1, 2], "num_hidden_layers": 2, "enable_fusion": fusion,
        "fusion_type": "aff_2d", "projection_dim": 12,
    }  # fmt: skip
    text = {
        "vocab_size": 30, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 16, "projection_dim": 12,
    }  # fmt: skip
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=12)
    return transformers.ClapModel(config)


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "dog", "barks", "rain"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.enable_padding(pad_id=1, pad_token="<pad>")
    return made


def reward(term: str = "both", fusion: bool = False) -> ClapReward:
    return ClapReward(clap_model(fusion), tokenizer(), "0" * 64, term, RATE)


def decoder(*, recompute: bool = True) -> SoundDecoder:
    torch.manual_seed(1)
    vae = VAE2d(VAE2dConfig(
        channels=2, n_mels=64, block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2,
        fixed_length=None,
    ))  # fmt: skip
    vocoder = HifiGan(HifiGanConfig(
        upsample_rates=(16, 10), upsample_kernel_sizes=(32, 20), upsample_initial_channel=8,
        resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,),),
    ))  # fmt: skip
    with torch.no_grad():  # an untrained one is almost silent
        for weight in vocoder.parameters():
            weight.normal_(std=0.3)
    return SoundDecoder(vae, vocoder, recompute=recompute)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def answers(ours: Tensor, lengths: list[int], **changes: Any) -> Answers:
    count = len(ours)
    values: dict[str, Any] = {
        "ours": ours, "x_0": noise(*ours.shape, seed=9), "lengths": lengths,
        "prompts": PROMPTS[:count], "t": torch.full((count,), 999.0),
        "weight": torch.linspace(0.2, 1.0, count), "seeds": torch.arange(count),
    }  # fmt: skip
    return Answers(**{**values, **changes})


def rewards(term: str = "both", *, recompute: bool = True, **changes: Any) -> Rewards:
    settings = RewardSettings(
        rewards=(RewardTerm(name="clap", weight=0.1, term=term, weights="x"),), **changes
    )
    sounds = Sounds(decoder(recompute=recompute), level_offset=True)
    return Rewards(settings, sounds, torch.device("cpu"), [reward(term)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap")
    clap_model().save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("fusion", [False, True])
@pytest.mark.parametrize("seconds", [0.7, 10.0])
def test_the_picture_is_that_of_the_extractor(fusion: bool, seconds: float) -> None:
    waveform = 0.1 * noise(1, round(48000 * seconds))
    waveform[:, 5000:9000] = 0
    extractor = transformers.ClapFeatureExtractor(
        truncation="fusion" if fusion else "rand_trunc", padding="repeatpad",
        frequency_min=50, frequency_max=14000,
    )  # fmt: skip
    expected = extractor([waveform[0].numpy()], sampling_rate=48000, return_tensors="pt")
    picture = ClapFrontEnd(fusion=fusion)(waveform)
    torch.testing.assert_close(picture, expected["input_features"], rtol=0, atol=2e-3)
    precise = ClapFrontEnd(fusion=fusion)(waveform.double())
    torch.testing.assert_close(picture.double(), precise, rtol=0, atol=2e-3)


def test_resampling_is_the_sum_of_windowed_sincs() -> None:
    x = noise(1, 300).double()
    found = sinc_resample(x, 16000, 48000)[0]
    assert found.shape == (900,)
    for n in (0, 301, 450, 899):
        d = (np.arange(300) - n / 3) * ROLLOFF
        inside = np.abs(d) < 64
        window = np.i0(BETA * np.sqrt(np.maximum(1 - (d / 64) ** 2, 0))) / np.i0(BETA)
        value = float((x[0].numpy() * ROLLOFF * np.sinc(d) * window * inside).sum())
        assert float(found[n]) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(("rate", "new_rate"), [(16000, 48000), (22050, 48000), (48000, 16000)])
def test_a_tone_stays_a_tone(rate: int, new_rate: int) -> None:
    x = torch.sin(2 * torch.pi * 1000 * torch.arange(rate).double() / rate)[None]
    found = sinc_resample(x, rate, new_rate)[0]
    expected = torch.sin(2 * torch.pi * 1000 * torch.arange(new_rate).double() / new_rate)
    middle = slice(new_rate // 4, 3 * new_rate // 4)
    torch.testing.assert_close(found[middle], expected[middle], rtol=0, atol=1e-5)
    assert len(found) == new_rate


def test_scores_are_those_of_the_embedder(folder: Path) -> None:
    """At 48 kHz, where nothing is resampled, but for the embedder's 16 bits."""
    embedder = open_embedder(str(folder), "cpu")
    sound = (0.3 * noise(2, 30000)).clamp(-1, 1)
    rows = np.concatenate([embedder.analyse(x.numpy()).embeds for x in sound])
    texts = embedder.embed_text(PROMPTS[:2])
    term = RewardTerm(name="clap", term="text", weights=str(folder))
    ours = open_clap(term, MelConfig(sampling_rate=48000))
    scores = ours(sound, PROMPTS[:2], None)
    np.testing.assert_allclose(scores.numpy(), (rows * texts).sum(1), atol=1e-4)
    assert ours.network == f"clap:{embedder.info.weights_sha256}"


def test_both_terms_are_the_sum_of_each() -> None:
    sound, reference = 0.1 * noise(2, 8000), 0.1 * noise(2, 8000, seed=3)
    both, text, audio = (
        reward(term)(sound, PROMPTS[:2], reference) for term in ("both", "text", "audio")
    )
    torch.testing.assert_close(both, text + audio)
    torch.testing.assert_close(reward("audio")(sound, PROMPTS[:2], sound), torch.ones(2))
    clap = reward("audio")
    torch.testing.assert_close(audio, (clap.audio(sound) * clap.audio(reference)).sum(-1))
    assert bool((audio < 0.9999).all())


def test_the_offset_of_a_waveform_is_removed_where_the_model_does_so() -> None:
    heard = [
        Sounds(decoder(), level_offset=offset).hear(noise(1, 2, 8, 32), [0], {"waveform"})
        for offset in (False, True)
    ]
    plain, level = (each["waveform"] for each in heard)
    torch.testing.assert_close(level, remove_dc(plain))
    assert not torch.equal(level, plain)


def test_fusion_is_heard_too() -> None:
    sound = (0.1 * noise(1, 8000)).requires_grad_()
    reward("text", fusion=True)(sound, ["rain"], None).sum().backward()
    assert sound.grad is not None
    assert float(sound.grad.abs().max()) > 0


def slope(score: Callable[[Tensor], Tensor], x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return the derivative along a direction, by autograd and by differences."""
    own = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(own), own)
    way = gradient / gradient.norm()
    difference = score(x + step * way) - score(x - step * way)
    return (gradient * way).sum(), difference / (2 * step)


def test_gradients_of_a_waveform_are_finite_differences() -> None:
    clap = reward("text").double()
    found = slope(lambda x: clap(x, ["rain"], None).sum(), 0.1 * noise(1, 4000).double(), 1e-6)
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)


def test_gradients_of_latents_are_finite_differences() -> None:
    made = rewards("text")
    found = slope(lambda z: made(answers(z, [8])).total.sum(), noise(1, 2, 8, 32), 1e-2)
    torch.testing.assert_close(*found, rtol=0.02, atol=0)


def test_gradients_reach_the_latents_the_same_with_and_without_checkpoints() -> None:
    found: list[Tensor] = []
    for recompute in (True, False):
        z = noise(2, 2, 8, 32).requires_grad_()
        made = rewards(recompute=recompute)(answers(z, [8, 8]))
        made.total.sum().backward()
        assert z.grad is not None
        assert bool(torch.isfinite(z.grad).all())
        assert float(z.grad.abs().amax((1, 2, 3)).min()) > 0
        found += [made.total.detach(), z.grad]
    torch.testing.assert_close(found[:2], found[2:], rtol=1e-5, atol=1e-9)


def test_an_item_is_rewarded_as_if_alone() -> None:
    made, z, lengths = rewards(), noise(3, 2, 8, 32), [8, 4, 8]
    together = made(answers(z, lengths))
    whole = answers(z, lengths)
    for i in range(3):
        alone = made(Answers(
            z[i : i + 1], whole.x_0[i : i + 1], lengths[i : i + 1], PROMPTS[i : i + 1],
            whole.t[i : i + 1], whole.weight[i : i + 1], whole.seeds[i : i + 1],
        ))  # fmt: skip
        torch.testing.assert_close(together.total[i], alone.total[0], rtol=0, atol=1e-6)


def test_the_weight_of_an_item_multiplies_where_asked() -> None:
    z = noise(2, 2, 8, 32)
    plain, weighed = (
        rewards(reward_weighting=how)(answers(z, [8, 8])).total for how in ("none", "as_loss")
    )
    torch.testing.assert_close(weighed, plain * torch.linspace(0.2, 1.0, 2))


def test_what_is_missing_is_told(folder: Path, tmp_path: Path) -> None:
    settings = RewardSettings(
        rewards=(RewardTerm(name="clap", weights=str(tmp_path / "no")),),
    )
    with pytest.raises(InputError, match=r"reward clap: there is nothing at weights=.*no"):
        Rewards(settings, Sounds(decoder()), torch.device("cpu"))
    (tmp_path / "config.json").write_text("{}")
    term = RewardTerm(name="clap", weights=str(tmp_path))
    with pytest.raises(InputError, match=r"neither LAION's \.pt file nor a folder"):
        open_clap(term, AUDIOLDM_MEL)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match="is not a CLAP folder"):
        open_clap(term, AUDIOLDM_MEL)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = load_file(folder / "model.safetensors")
    del state["text_projection.linear1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"text_projection\.linear1\.weight.* missing"):
        open_clap(term, AUDIOLDM_MEL)
    without = SoundDecoder(decoder().latent)
    clap = RewardSettings(rewards=(RewardTerm(name="clap", weights=str(folder)),))
    with pytest.raises(InputError, match="rewards clap hear waveforms; set vocoder"):
        Rewards(clap, Sounds(without), torch.device("cpu"))
    with pytest.raises(InputError, match=r"term=text needs RoBERTa's tokenizer\.json"):
        ClapReward(clap_model(), None, "0" * 64, "text", RATE)

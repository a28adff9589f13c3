"""Examples: deterministic, never too long, captions that hold."""

from __future__ import annotations

import random

import pytest
import torch
from toy_runs import RATE, Toy

from soundleap.data.examples import (
    FADE,
    MAX_SECONDS,
    REPEATED,
    ExampleMaker,
    ExamplePlan,
    change_speed,
    crop,
    fit_texture,
    place,
    repeat_event,
)
from soundleap.data.mixing import SEQUENCE, TOGETHER, join_captions, join_in_sequence, mix_together
from soundleap.data.pool import AudioPool
from soundleap.errors import InputError

PLAN = ExamplePlan((("tones", 6), ("*", 3)), mixtures=30, favourites=("tones",))


@pytest.fixture(scope="module")
def pool(toy: Toy) -> AudioPool:
    return AudioPool([toy.manifest], split="train", sampling_rate=RATE, progress=False)


def rng() -> random.Random:
    return random.Random(3)


def test_an_example_is_a_function_of_seed_and_index(pool: AudioPool) -> None:
    one, other = ExampleMaker(pool, PLAN, 0), ExampleMaker(pool, PLAN, 0)
    for i in reversed(range(len(one))):
        a, b = one[i], other[i]
        assert (a.id, a.captions) == (b.id, b.captions)
        torch.testing.assert_close(a.waveform, b.waveform, rtol=0, atol=0)
    changed = ExampleMaker(pool, PLAN, 1)
    assert any(len(one[i].waveform) != len(changed[i].waveform) for i in range(len(one)))


def test_counts_lengths_levels_and_captions(pool: AudioPool) -> None:
    maker = ExampleMaker(pool, PLAN, 0)
    tones = sum(entry.clip.source == "tones" for entry in pool.clips)
    assert len(maker) == 6 * tones + 3 * (len(pool.clips) - tones) + 30
    known = {entry.clip.id: entry.clip for entry in pool.clips}
    for i in range(len(maker)):
        example = maker[i]
        assert 0 < len(example.waveform) <= MAX_SECONDS * RATE
        assert float(example.waveform.abs().max()) <= 0.9501
        assert example.captions
        if example.id in known:
            clip = known[example.id]
            repeated = {form.format(c=c) for form in REPEATED for c in clip.captions}
            assert example.captions == clip.captions or set(example.captions) <= repeated
        else:
            assert example.id.startswith("mix-")
            assert len(example.captions) == 3


def test_no_example_is_longer_than_a_model_takes(pool: AudioPool) -> None:
    plan = ExamplePlan((("*", 2),), mixtures=4)
    maker = ExampleMaker(pool, plan, seed=0, max_seconds=0.7)
    lengths = [len(maker[i].waveform) for i in range(len(maker))]
    assert max(lengths) == int(0.7 * pool.sampling_rate)


def test_the_first_variant_of_a_short_event_is_the_clip_itself(pool: AudioPool) -> None:
    maker = ExampleMaker(pool, PLAN, 0)
    index = next(
        i for i in range(len(maker)) if maker._singles[i][1] == 0
        and pool.clips[maker._singles[i][0]].clip.kind == "event"
    )  # fmt: skip
    example, clip = maker[index], pool.waveform(maker._singles[index][0])
    assert len(example.waveform) == len(clip)
    similarity = torch.cosine_similarity(example.waveform, clip, dim=0)
    assert float(similarity) == pytest.approx(1.0, abs=1e-4)


def test_crop_fades_cut_ends_and_leaves_short_sounds() -> None:
    sound = torch.ones(5000)
    assert crop(sound, 6000, rng()) is sound
    piece = crop(sound, 1000, rng())
    assert len(piece) == 1000
    assert piece[0] == piece[-1] == 0
    assert (piece[FADE:-FADE] == 1).all()
    assert (sound == 1).all()


@pytest.mark.parametrize("samples", [500, 3000, 50000])
def test_fit_texture_gives_the_length_asked(samples: int) -> None:
    assert len(fit_texture(torch.randn(3000), samples, rng())) == samples


def test_place_pads_and_never_cuts() -> None:
    sound = torch.ones(100)
    placed = place(sound, 1000, rng())
    assert len(placed) == 1000
    assert float(placed.sum()) == 100
    assert place(sound, 50, rng()) is sound


def test_repeat_event_keeps_within_the_limit() -> None:
    sound = torch.ones(1000)
    assert len(repeat_event(sound, 5, 1000, 2500, rng())) <= 2500
    assert float(repeat_event(sound, 3, 1000, 10**6, rng()).sum()) == 3000


def test_change_speed_changes_the_length() -> None:
    sound = torch.randn(1000)
    lengths = {len(change_speed(sound, 1.25, random.Random(i))) for i in range(20)}
    assert lengths == {800, 1000}


def test_mixing_together_is_as_long_as_the_longer() -> None:
    a, b = torch.ones(1000), torch.ones(400)
    for x, y, level in ((a, b, -6.0), (b, a, 0.0)):
        mixed = mix_together(x, y, level, rng())
        assert len(mixed) == 1000
        quiet = 10.0 ** (level / 20.0)
        expected = len(x) + quiet * len(y)
        assert float(mixed.sum()) == pytest.approx(expected, rel=1e-5)
    assert (a == 1).all()


@pytest.mark.parametrize(("gap", "length"), [(0, 1400), (250, 1650), (-100, 1300), (-900, 1000)])
def test_joining_in_sequence(gap: int, length: int) -> None:
    joined = join_in_sequence(torch.ones(1000), torch.ones(400), gap)
    assert len(joined) == length
    silent = int((joined == 0).sum())
    assert silent == max(gap, 0)
    assert (joined[joined > 0] - 1).abs().max() < 1e-6  # the fade keeps the sum of both


def test_joined_captions_hold_both() -> None:
    for arrangement, forms in (("together", TOGETHER), ("sequence", SEQUENCE)):
        texts = {join_captions("a dog", "rain", arrangement, random.Random(i)) for i in range(99)}
        assert texts == {form.format(a="a dog", b="rain") for form in forms}


def test_crops_of_the_pool(pool: AudioPool) -> None:
    def draw() -> torch.Tensor:
        return pool.crops(6, 4096, torch.Generator().manual_seed(4))

    assert draw().shape == (6, 4096)
    torch.testing.assert_close(draw(), draw(), rtol=0, atol=0)
    long = pool.crops(2, 60000, torch.Generator().manual_seed(0))  # longer than any clip
    assert long.shape == (2, 60000)


def test_a_split_without_clips(toy: Toy) -> None:
    with pytest.raises(InputError, match="no readable clip of split 'nothing'"):
        AudioPool([toy.manifest], split="nothing", sampling_rate=RATE, progress=False)


def test_clips_that_can_t_be_read_are_listed(toy: Toy) -> None:
    with pytest.raises(InputError, match="no readable clip"):
        AudioPool([toy.manifest], split="train", sampling_rate=8000, progress=False)

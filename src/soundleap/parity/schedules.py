"""Schedules and predictions by the values of published configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soundleap.bundle_schema import Sampling, Schedule
from soundleap.diffusion import NoiseSchedule, Prediction

from .items import ParityError, supported, whole_number

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def stock_schedule(scheduler: Mapping[str, Any]) -> NoiseSchedule:
    """Make the schedule of a diffusers scheduler's configuration.

    Raises:
        ParityError: if a value is missing or not supported.
    """
    supported(
        scheduler,
        beta_schedule="scaled_linear",
        trained_betas=None,
        clip_sample=False,
        rescale_betas_zero_snr=False,
        thresholding=False,
    )
    return NoiseSchedule.scaled_linear(
        _number(scheduler, "beta_start"),
        _number(scheduler, "beta_end"),
        whole_number("num_train_timesteps", scheduler.get("num_train_timesteps")),
    )


def stock_prediction(scheduler: Mapping[str, Any]) -> Prediction:
    """Give what a network predicts by a diffusers scheduler's configuration.

    Raises:
        ParityError: for another name than the known ones.
    """
    name = str(scheduler.get("prediction_type", "epsilon"))
    if name not in PREDICTIONS:
        raise ParityError(f"prediction_type is {name!r}; supported: {', '.join(PREDICTIONS)}")
    return PREDICTIONS[name]


def ldm_schedule(constructor: Mapping[str, Any]) -> NoiseSchedule:
    """Make the schedule of a latent-diffusion model's configuration.

    Raises:
        ParityError: if a value is missing or not supported.
    """
    supported(constructor, beta_schedule="linear", parameterization="eps")
    return NoiseSchedule.scaled_linear(
        _number(constructor, "linear_start"),
        _number(constructor, "linear_end"),
        whole_number("timesteps", constructor.get("timesteps")),
    )


def sampling_settings(scheduler: Mapping[str, Any], **settings: Any) -> Sampling:
    """Make the sampling settings of a model from a diffusers scheduler's configuration.

    Args:
        scheduler: the configuration.
        settings: further fields of `Sampling`.

    Raises:
        ParityError: if a value is missing or not supported.
    """
    stock_schedule(scheduler)
    return Sampling(
        schedule=Schedule(
            beta_start=scheduler["beta_start"],
            beta_end=scheduler["beta_end"],
            num_train_steps=scheduler["num_train_timesteps"],
        ),
        prediction=stock_prediction(scheduler),
        **settings,
    )


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParityError(f"{name} is {value!r}; needed: a number")
    return float(value)

"""Networks from constructor values and published weights, and gradients by published names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from soundleap.diffusion import Prediction
from soundleap.importers.keys_1d import concat_dit_state
from soundleap.importers.keys_2d import unet2d_state
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig
from soundleap.models.unet2d import UNet2D, UNet2DConfig

from .items import ParityError, supported, whole_number

State = Mapping[str, Tensor]
KeyMap = Callable[[State], dict[str, Tensor]]
Module = TypeVar("Module", bound=nn.Module)

GUIDANCE = "guidance_proj.weight"
PROJ_W = "t_embedder.proj_w.weight"


def unet2d(values: Mapping[str, Any], published: State, prediction: Prediction) -> UNet2D:
    """Build a U-Net from diffusers' constructor values; guided if its weights are.

    Raises:
        ParityError: for values or weights that it does not have.
    """
    supported(
        values,
        act_fn="silu",
        center_input_sample=False,
        class_embed_type=None,
        downsample_padding=1,
        dual_cross_attention=False,
        flip_sin_to_cos=True,
        freq_shift=0,
        mid_block_scale_factor=1,
        norm_eps=1e-5,
        num_class_embeds=None,
        only_cross_attention=False,
        out_channels=values["in_channels"],
        resnet_time_scale_shift="default",
        use_linear_projection=True,
    )
    widths = tuple(values["block_out_channels"])
    heads = values["attention_head_dim"]
    config = UNet2DConfig(
        channels=values["in_channels"],
        text_dim=values["cross_attention_dim"],
        block_out_channels=widths,
        attention_heads=tuple(heads) if isinstance(heads, list) else (heads,) * len(widths),
        layers_per_block=whole_number("layers_per_block", values["layers_per_block"]),
        norm_num_groups=values["norm_num_groups"],
        down_block_types=tuple(values["down_block_types"]),
        up_block_types=tuple(values["up_block_types"]),
        guided=GUIDANCE in published,
        prediction=prediction,
    )
    return filled(UNet2D(config), unet2d_state(published))


def concat_dit(values: Mapping[str, Any], published: State, *, guided: bool) -> ConcatDiT:
    """Build AudioLCM's transformer from its constructor values, with or without guidance.

    Raises:
        ParityError: for values or weights that it does not have.
    """
    config = ConcatDiTConfig(
        channels=values["in_channels"],
        text_dim=values["context_dim"],
        width=values["hidden_size"],
        blocks=values["depth"],
        heads=values["num_heads"],
        max_positions=values["max_len"],
        guided=guided,
    )
    return filled(ConcatDiT(config), concat_dit_state(published, guided=guided))


def filled(module: Module, state: State) -> Module:
    """Load a state, strictly, and give the module in eval mode.

    Raises:
        ParityError: naming what is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [n for n in own if n in state and own[n].shape != state[n].shape]
    if missing or unexpected or shapes:
        raise ParityError(
            f"the weights do not fit {type(module).__name__}: missing {_few(missing)}, "
            f"unexpected {_few(unexpected)}, mis-shaped {_few(shapes)}"
        )
    module.load_state_dict(dict(state))
    return module.eval()


def everything(text_embeds: Tensor) -> Tensor:
    """Give a mask that keeps all tokens ``[B, N]`` of text states ``[B, N, D]``."""
    return torch.ones(text_embeds.shape[:2], dtype=torch.bool)


def published_gradient(name: str, published: State, key_map: KeyMap, module: nn.Module) -> Tensor:
    """Give the gradient of a published tensor, from those of the module's parameters.

    The key map is a linear function of the published tensors, so the chain rule leads through it.

    Raises:
        ParityError: if there is no such tensor, or it has no gradient.
    """
    if name not in published:
        raise ParityError(f"there is no weight {name}")
    leaf = published[name].detach().clone().requires_grad_()
    state = key_map({**published, name: leaf})
    own = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    terms = [
        (state[key] * grad).sum()
        for key, grad in own.items()
        if key in state and state[key].requires_grad
    ]
    if not terms:
        raise ParityError(f"{name} has no gradient")
    return torch.autograd.grad(torch.stack(terms).sum(), leaf)[0]


def published_value(name: str, published: State, key_map: KeyMap, module: nn.Module) -> Tensor:
    """Give a module's value of a published tensor that the key map renames or reshapes.

    Raises:
        ParityError: if there is no such tensor.
    """
    if name not in published:
        raise ParityError(f"there is no weight {name}")
    (own,) = key_map({name: published[name]})
    return module.state_dict()[own].reshape(published[name].shape)


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown

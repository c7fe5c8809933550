"""Operations on the values of pixels, (n, H, W, C), each image by a factor of its own."""

import torch
from torch import Tensor


def luminance(values: Tensor) -> Tensor:
    """Brightness of every pixel: (n, H, W, C) to (n, H, W, 1)."""
    if values.shape[3] == 1:
        return values
    red, green, blue = (values[..., channel, None] for channel in range(3))
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def blend(values: Tensor, towards: Tensor, factor: Tensor) -> Tensor:
    """``factor`` (n,) of ``values`` in 0…1 and the rest of ``towards``, kept there; above 1 it leads away from it."""
    factor = factor[:, None, None, None]
    return (values * factor + towards * (1 - factor)).clamp(0, 1)


def color_jitter(factor: Tensor, values: Tensor) -> Tensor:
    """Brightness, contrast and saturation by the columns of ``factor`` (n, 3), in this order."""
    values = blend(values, torch.zeros_like(values), factor[:, 0])
    values = blend(values, luminance(values).mean(dim=(1, 2), keepdim=True), factor[:, 1])
    return blend(values, luminance(values), factor[:, 2])


def brightness_contrast(shift: Tensor, factor: Tensor, values: Tensor) -> Tensor:
    """Normalised ``values`` with ``shift`` (n,) added, then multiplied by ``factor`` (n,)."""
    return (values + shift[:, None, None, None]) * factor[:, None, None, None]

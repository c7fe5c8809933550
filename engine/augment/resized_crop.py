"""Random resized crop: a rectangle of the image, enlarged to its whole size."""

import torch
from torch import Tensor

from engine.augment.affine import sample_bilinear


def random_resized_crop(box: Tensor, values: Tensor) -> Tensor:
    """Enlarge ``box`` (n, 4: top, left, height, width, whole pixels) of ``values`` (n, H, W, C), bilinear.

    Positions are kept within the box, so that nothing outside it bleeds in. A box never exceeds the image: nothing is
    made smaller, and antialiasing has nothing to do.
    """
    size = values.shape[1]
    centres = (torch.arange(size, device=values.device) + 0.5) / size
    top, left, height, width = (box[:, side, None] for side in range(4))
    y = top + torch.minimum((centres * height - 0.5).clamp_min(0), height - 1)
    x = left + torch.minimum((centres * width - 0.5).clamp_min(0), width - 1)
    shape = (len(values), size, size)
    return sample_bilinear(values, y[:, :, None].expand(shape), x[:, None, :].expand(shape))

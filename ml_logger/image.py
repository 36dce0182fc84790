"""Images: from what a training script holds to the bytes of a PNG.

The rule for values: ``uint8`` is taken as it is; ``bool`` is black and white; ``uint16`` keeps 16 bits where PNG can (H×W),
else its upper 8; floats are 0..1 if none is above 1 and 0..255 otherwise; other integers are 0..255. What lies outside is
clipped, and NaN is black. Pillow and numpy are imported at first use: most runs never log an image.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_COMPRESS_LEVEL = 1  # three times as fast as 6 and a tenth larger; images of a run are many and short-lived


class BadImage(ValueError):
    """Something that is not an image: the message says which shape or type it has."""


def as_pixels(image: Any) -> NDArray[Any]:
    """Return `image` (an array, a tensor of any library, nested lists, or a Pillow image) as a numpy array of its own.

    A copy, so what the caller does to its array afterwards changes nothing. Shape H×W or H×W×C with C of 1 to 4; raises
    `BadImage` for anything else.
    """
    import numpy as np  # lazily: importing ml_logger must not cost an import of numpy

    if callable(getattr(image, "detach", None)):
        image = image.detach().cpu()
    pixels = np.array(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in _MODES):
        raise BadImage(
            f"an image is H×W or H×W×C with C from 1 to 4, not {'×'.join(map(str, pixels.shape)) or 'a scalar'}"
        )
    if pixels.size == 0:
        raise BadImage(f"an image of {pixels.shape[0]}×{pixels.shape[1]} has no pixels")
    if pixels.dtype.kind not in "buif":
        raise BadImage(f"pixels are numbers, not {pixels.dtype}")
    return pixels


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Return the PNG of `pixels`, as `as_pixels` gives them."""
    from PIL import Image  # lazily: as above

    if pixels.dtype.name == "uint16" and pixels.ndim == 2:
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray(_to_uint8(pixels), mode=None)
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=_COMPRESS_LEVEL)
    return buffer.getvalue()


def _to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np  # lazily: as above

    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if pixels.dtype.kind == "f":
        return _float_to_uint8(pixels)
    clipped: NDArray[Any] = np.clip(pixels, 0, 255)
    return clipped.astype(np.uint8)


def _float_to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np  # lazily: as above

    known = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    finite = known[np.isfinite(known)]
    scale = 255.0 if finite.size == 0 or finite.max() <= 1 else 1.0
    with np.errstate(invalid="ignore"):
        scaled: NDArray[np.float64] = np.rint(np.clip(known * scale, 0, 255))
    return scaled.astype(np.uint8)

"""Images: from what a training script holds to the bytes of a PNG, still or animated.

The rule for values: ``uint8`` is taken as it is; ``bool`` is black and white; ``uint16`` keeps 16 bits where PNG can (H×W),
else its upper 8; floats are 0..1 if none is above 1 and 0..255 otherwise; other integers are 0..255. What lies outside is
clipped, and NaN is shown as 0. The rule looks at a whole animation at once, so that no frame of it is scaled alone.

An animation is a PNG whose first frame every viewer shows (APNG, part of the third edition of the PNG standard). Each frame
is encoded as a PNG of its own and its data moved over, so a frame that equals the one before is still a frame.

Pillow and numpy are imported at first use: most runs never log an image.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .arrays import NotAnArray, as_array
from .buffers import copied

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

FPS = 10.0
"""Frames a second of an animation, by default."""

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's numbers for grey, grey with alpha, RGB, RGBA
_COMPRESS_LEVEL = 1  # three times as fast as 6 and a tenth larger; images of a run are many and short-lived
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I", "F")


class BadImage(ValueError):
    """Something that is not an image: the message says which shape or type it has."""


# --- what is an image


def is_figure(value: Any) -> bool:
    """Whether `value` draws itself as a matplotlib figure does."""
    return callable(getattr(value, "savefig", None)) and hasattr(value, "canvas")


def figure_png(figure: Any, **options: Any) -> bytes:
    """Return the PNG that a matplotlib figure makes of itself; `options` (``dpi``, ``bbox_inches`` …) are its ``savefig``'s."""
    buffer = io.BytesIO()
    figure.savefig(buffer, **{"format": "png", **options})
    return buffer.getvalue()


def is_animation(value: Any) -> bool:
    """Whether `value` is several frames: a list of images, or an array of four dimensions."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_picture(frame) for frame in value)
    return len(getattr(value, "shape", ())) == 4


def _is_picture(value: Any) -> bool:
    return is_figure(value) or _is_pillow(value) or len(getattr(value, "shape", ())) in (2, 3)


def _is_pillow(value: Any) -> bool:
    return callable(getattr(value, "convert", None)) and callable(getattr(value, "getbands", None))


def as_pixels(image: Any, *, channels_first: bool = False) -> NDArray[Any]:
    """Return `image` (an array, a tensor of any library, nested lists, a Pillow image, a figure) as an array of its own.

    A copy, so what the caller does to its array afterwards changes nothing. Shape H×W or H×W×C with C of 1 to 4 (C×H×W with
    `channels_first`); raises `BadImage` for anything else.
    """
    return _checked(_copied(image), channels_first, first=0)


def as_frames(frames: Any, *, channels_first: bool = False) -> NDArray[Any]:
    """Return `frames`, a list of images or an array T×H×W or T×H×W×C, as one array of its own; as for `as_pixels`."""
    import numpy as np  # lazily: see above

    if not isinstance(frames, (list, tuple)) or not all(map(_is_picture, frames)):
        return _checked(_copied(frames), channels_first, first=1)
    if not frames:
        raise BadImage("an animation of no frames has nothing to show")
    pixels = [as_pixels(frame, channels_first=channels_first) for frame in frames]
    kinds = {(frame.shape, frame.dtype) for frame in pixels}
    if len(kinds) != 1:
        shown = ", ".join(sorted(f"{_shape(shape)} {kind}" for shape, kind in kinds))
        raise BadImage(f"the frames of an animation have one shape and type, not {shown}")
    return np.stack(pixels)


def _copied(image: Any) -> NDArray[Any]:
    import numpy as np  # lazily: see above

    if type(image) is np.ndarray:
        return copied(image)
    if is_figure(image):
        from PIL import Image  # lazily: see above

        image = Image.open(io.BytesIO(figure_png(image)))
    if _is_pillow(image) and image.mode not in _PLAIN_MODES:
        has_alpha = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")  # palettes, CMYK, … : numbers that are no colours
    try:
        return np.array(image) if _is_pillow(image) else copied(as_array(image))
    except (NotAnArray, TypeError, ValueError) as error:
        raise BadImage(f"pixels are numbers: {error}") from None


def _checked(pixels: NDArray[Any], channels_first: bool, first: int) -> NDArray[Any]:
    """Return `pixels` with its channels last and a single one dropped; `first` is the dimension where an image begins."""
    import numpy as np  # lazily: see above

    inner = pixels.ndim - first
    shape = pixels.shape
    if inner == 3 and channels_first:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, first, -1))
    if inner == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if inner not in (2, 3) or (pixels.ndim - first == 3 and pixels.shape[-1] not in _COLOR_TYPES):
        wanted = ("T×" if first else "") + ("C×H×W" if channels_first else "H×W×C")
        raise BadImage(f"{'an animation' if first else 'an image'} is {wanted} with C from 1 to 4, not {_shape(shape)}")
    if pixels.size == 0:
        raise BadImage(f"{'an animation' if first else 'an image'} of {_shape(shape)} has no pixels")
    if pixels.dtype.kind not in "buif":
        raise BadImage(f"pixels are numbers, not {pixels.dtype}")
    return pixels


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a scalar"


def has_nan(pixels: NDArray[Any]) -> bool:
    """Whether any pixel is NaN."""
    return pixels.dtype.kind == "f" and bool((pixels != pixels).any())


# --- PNG


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Return the PNG of `pixels`, as `as_pixels` gives them."""
    return _png(pixels if pixels.dtype.name == "uint16" and pixels.ndim == 2 else _to_uint8(pixels))


def encode_animation(frames: NDArray[Any], fps: float = FPS) -> bytes:
    """Return the animated PNG of `frames`, as `as_frames` gives them, `fps` of them a second, repeated for ever."""
    stills = [_png(frame) for frame in _to_uint8(frames)]
    if len(stills) == 1:
        return stills[0]
    delay = _delay(fps)
    header = next(body for kind, body in _chunks(stills[0]) if kind == b"IHDR")
    parts = [_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"acTL", struct.pack(">II", len(stills), 0))]
    number = 0
    for index, still in enumerate(stills):
        control = struct.pack(">I8sIIHHBB", number, header[:8], 0, 0, delay.numerator, delay.denominator, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        number += 1
        for body in (body for kind, body in _chunks(still) if kind == b"IDAT"):
            if index == 0:
                parts.append(_chunk(b"IDAT", body))
                continue
            parts.append(_chunk(b"fdAT", struct.pack(">I", number) + body))
            number += 1
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _delay(fps: float) -> Fraction:
    """Return the seconds of a frame as the fraction of two 16-bit numbers that PNG has."""
    from fractions import Fraction  # lazily: few runs log an animation

    if not 0.001 <= fps <= 1000:
        raise BadImage(f"frames a second are from 0.001 to 1000, not {fps}")
    return Fraction(1 / fps).limit_denominator(1000)


def _png(pixels: NDArray[Any]) -> bytes:
    """Return the PNG of H×W or H×W×C ``uint8``, or H×W ``uint16``: rows filtered with "up", one zlib stream.

    Written here and not by Pillow because that takes two to four times as long at the same level (docs/BENCHMARKS.md), time
    that the encoder takes from a training process whose cores are all busy. Sizes are within a quarter of Pillow's, either way.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(_filtered(pixels).data, _COMPRESS_LEVEL)
    return b"".join([_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")])


def _filtered(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the rows as bytes, each less the one above it and behind a 2, the filter's number (PNG standard, section 9)."""
    import numpy as np  # lazily: see above

    big_endian = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(len(pixels), -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(_SIGNATURE)
    while start < len(png):
        (length,) = struct.unpack_from(">I", png, start)
        yield png[start + 4 : start + 8], png[start + 8 : start + 8 + length]
        start += length + 12


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# --- values


def _to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np  # lazily: see above

    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if pixels.dtype.kind == "f":
        return _float_to_uint8(pixels)
    clipped: NDArray[Any] = np.clip(pixels, 0, 255)
    return clipped.astype(np.uint8)


def _float_to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np  # lazily: see above

    known = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    finite = known[np.isfinite(known)]
    scale = 255.0 if finite.size == 0 or finite.max() <= 1 else 1.0
    with np.errstate(invalid="ignore"):
        scaled: NDArray[np.float64] = np.rint(np.clip(known * scale, 0, 255))
    return scaled.astype(np.uint8)

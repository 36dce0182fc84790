"""Arrays: what a training script holds as a tensor, as numpy arrays and numpy's own file formats, without pickle.

Tensors of any library are recognised by what they can do, never by import. numpy itself is imported at first use: importing
ml_logger must not cost an import of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from .encode import key_text, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STORABLE_KINDS = "biufcSUmM"
"""Kinds of dtype that ``.npy`` holds without pickle and that numpy alone reads back (bfloat16 is of kind ``V``)."""


class NotAnArray(TypeError):
    """Something that has no form as an array of numbers, text or dates."""


def as_array(value: Any) -> NDArray[Any]:
    """Return an array, a tensor (on a device, with a gradient), or nested lists as a numpy array; the data may be shared.

    Element types that numpy lacks (bfloat16, 8-bit floats) become float32, which holds them exactly. Raises `NotAnArray`.
    """
    import numpy as np  # lazily: see above

    array = np.asarray(_on_host(value))
    if _is_storable(array.dtype):
        return array
    if array.dtype.kind == "V" and array.dtype.names is None:
        return array.astype(np.float32)
    raise NotAnArray(f"{type(value).__name__} has no form as an array of numbers ({array.dtype})")


def _is_storable(dtype: np.dtype[Any]) -> bool:
    if dtype.names is not None:
        return all(_is_storable(dtype[name].base) for name in dtype.names)
    return dtype.kind in _STORABLE_KINDS


def _on_host(value: Any) -> Any:
    """Return a tensor as something that numpy takes: without gradient, in main memory, in an element type it knows."""
    if not callable(getattr(value, "detach", None)):
        return value
    value = value.detach().cpu()
    for name in ("resolve_conj", "resolve_neg"):  # lazy views of torch, which it hands to nobody
        resolve = getattr(value, name, None)
        value = resolve() if callable(resolve) else value
    if any(small in str(getattr(value, "dtype", "")) for small in ("bfloat16", "float8")):
        value = value.float()
    return value


def npy_writer(array: NDArray[Any]) -> Callable[[BinaryIO], None]:
    """Return a function that writes `array` as ``.npy`` to an open file."""
    import numpy as np  # lazily: see above

    return lambda file: np.lib.format.write_array(file, array, allow_pickle=False)


def npz_writer(arrays: Mapping[str, NDArray[Any]]) -> Callable[[BinaryIO], None]:
    """Return a function that writes `arrays` by name as an uncompressed ``.npz``, as ``numpy.load`` reads it."""
    import zipfile  # lazily: it imports half the standard library

    import numpy as np  # lazily: see above

    def write(file: BinaryIO) -> None:
        # numpy.savez would take a name like "file" for an argument of its own
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)

    return write


def state_arrays(module: Any, on_left_out: Callable[[str, object], None]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a module (by its ``state_dict()``) or of a nested mapping or list, by names joined with ``/``.

    None and what is no array of numbers, text or dates is left out; the latter is told to `on_left_out`.
    """
    state_dict = getattr(module, "state_dict", None)
    state = state_dict() if callable(state_dict) else module
    found: dict[str, NDArray[Any]] = {}
    for name, value in _leaves(state, ""):
        try:
            array = as_array(value)
        except (NotAnArray, TypeError, ValueError):
            if value is not None:
                on_left_out(name, value)
            continue
        while name in found:
            name += "~"  # two paths that join to one name: both are kept
        found[name] = array
    return found


def _leaves(state: Any, trail: str) -> Iterator[tuple[str, Any]]:
    if isinstance(state, Mapping):
        pairs = [(key_text(key), value) for key, value in state.items()]
    elif isinstance(state, (list, tuple)) and not all(isinstance(element, (int, float, str)) for element in state):
        pairs = [(str(index), value) for index, value in enumerate(state)]
    else:
        yield trail, state
        return
    for name, value in pairs:
        yield from _leaves(value, f"{trail}/{name}" if trail else name)


def histogram(value: Any, bins: Any) -> dict[str, Any]:
    """Return ``{"counts": […], "edges": […]}`` of all elements, as ``numpy.histogram`` counts them.

    NaN and the infinities are left out and counted under ``"not_finite"``.
    """
    import numpy as np  # lazily: see above

    array = as_array(value)
    if array.dtype.kind == "c":
        raise TypeError("a histogram is of real numbers; log the real and the imaginary part, or the absolute values")
    numbers = array.ravel().astype(np.float64, copy=False)
    finite = numbers[np.isfinite(numbers)]
    counts, edges = np.histogram(finite, bins=bins)
    left_out = int(numbers.size - finite.size)
    return {"counts": plain(counts), "edges": plain(edges)} | ({"not_finite": left_out} if left_out else {})

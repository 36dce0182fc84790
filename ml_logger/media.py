"""Media: images, animations, figures, tensors, weights and files: what a run holds beside its records.

Each becomes a whole file ``<namespace>/<key>/<step:04d>.<suffix>``. Pixels are copied at the call and encoded by the `Encoder`,
off the training thread; arrays and files are written at the call. The same namespace, key and step again replaces the file;
without a step each call makes a file of its own, named by the time. As for `log`, a dict may hold the values.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import image
from .arrays import as_array, npy_writer, npz_writer, state_arrays
from .encode import key_text, scalar
from .encoder import Encoder
from .layout import escape_key, unhidden
from .recording import Recording, check_name, never_raises

_MOST_KEY_BYTES = 1000  # of the 2,048 of a path on the wire, which begins with the place of the run in the spool
_MOST_STEP_BYTES = 200  # what `escape_key` puts into one component
_stepless = itertools.count()  # no lock: a signal handler may log in the middle of a call, and a fork would inherit it


class Media:
    """The part of `ML_Logger` that stores whole files; no call raises."""

    _recording: Recording
    _encoder: Encoder

    def tell_failure(self, where: str, error: Exception) -> None:
        """Count an error inside the method `where`, and warn about it once a kind."""
        self._recording.tell_failure(where, error)

    @never_raises
    def log_image(
        self,
        /,
        step: Any = None,
        namespace: str | Mapping[str, Any] = "images",
        *,
        channels_first: bool = False,
        fps: float = image.FPS,
        index: Any = None,
        **images: Any,
    ) -> None:
        """Store each image as ``<namespace>/<key>/<step:04d>.png``.

        An image is an array or tensor H×W or H×W×C with C of 1 to 4 (C×H×W with `channels_first`), a Pillow image, or a
        matplotlib figure; a list of images, or an array T×H×W×C, becomes an animated PNG of `fps` frames a second. ``uint8`` is
        stored as it is, ``bool`` as black and white, ``uint16`` with 16 bits as H×W and its upper 8 otherwise; floats are 0..1,
        or 0..255 if any is above 1; other integers 0..255. What lies outside is clipped; NaN is shown as 0, with a warning.
        """
        step, namespace, images = _taken_apart(step, index, namespace, "images", images)
        for key, value in images.items():
            name = _file_name(namespace, key, step, "png")
            if image.is_animation(value):
                self._log_animation(name, key, value, fps, channels_first)
            elif image.is_figure(value):
                self._log_one_pyplot(name, value, {})
            else:
                self._log_one_image(name, key, value, channels_first)

    @never_raises
    def log_video(
        self,
        /,
        step: Any = None,
        namespace: str | Mapping[str, Any] = "videos",
        *,
        fps: float = image.FPS,
        channels_first: bool = False,
        index: Any = None,
        **videos: Any,
    ) -> None:
        """Store each list of images, or array T×H×W or T×H×W×C, as an animated PNG that loops.

        The file is ``<namespace>/<key>/<step:04d>.png``. `fps` is the number of frames a second. All frames have one shape and
        type; values are as for `log_image`, and the rule for floats looks at all frames together. Every browser plays it.
        """
        step, namespace, videos = _taken_apart(step, index, namespace, "videos", videos)
        for key, value in videos.items():
            self._log_animation(_file_name(namespace, key, step, "png"), key, value, fps, channels_first)

    log_animation = log_video

    @never_raises
    def log_pyplot(
        self,
        /,
        step: Any = None,
        fig: Any = None,
        namespace: str = "figures",
        *,
        key: str | None = None,
        index: Any = None,
        **options: Any,
    ) -> None:
        """Store a matplotlib figure as ``<namespace>/<step:04d>.png``, or with a `key` as ``<namespace>/<key>/<step:04d>.png``.

        `fig` is a figure, its axes, or ``pyplot``; without it the current figure. `options` go to its ``savefig`` (``dpi``,
        ``bbox_inches``, …); its ``format`` (``svg``, ``pdf``) is the suffix of the file too.
        It is drawn on the calling thread, since matplotlib belongs to one. ml_logger never imports it.
        """
        if _figure_of(step) is not None:
            step, fig = fig, step
        step = scalar(index if step is None else step)
        options["format"] = suffix = str(options.get("format") or "png").lower()
        self._log_one_pyplot(_file_name(namespace, key, step, escape_key(suffix)), _figure(fig), options)

    @never_raises
    def log_tensor(
        self,
        /,
        step: Any = None,
        namespace: str | Mapping[str, Any] = "tensors",
        *,
        index: Any = None,
        **arrays: Any,
    ) -> None:
        """Store each array or tensor as ``<namespace>/<key>/<step:04d>.npy`` (numpy's format, without pickled objects).

        The element type is kept; those that numpy lacks (bfloat16) become float32.
        """
        step, namespace, arrays = _taken_apart(step, index, namespace, "tensors", arrays)
        for key, value in arrays.items():
            self._log_one_tensor(_file_name(namespace, key, step, "npy"), value)

    @never_raises
    def log_module(
        self,
        /,
        step: Any = None,
        namespace: str | Mapping[str, Any] = "modules",
        *,
        index: Any = None,
        **modules: Any,
    ) -> None:
        """Store the arrays of each module as ``<namespace>/<key>/<step:04d>.npz``, without pickle; a single array as ``.npy``.

        A module has a ``state_dict()`` as in torch (an optimizer too), or is a mapping or list of arrays, nested as deep as it
        likes: names are joined with ``/``. What is no array, number or text is left out, with a warning.
        """
        step, namespace, modules = _taken_apart(step, index, namespace, "modules", modules)
        for key, module in modules.items():
            self._log_one_module(namespace, key, step, module)

    @never_raises
    def log_file(self, /, path: str | os.PathLike[str], namespace: str = "files") -> None:
        """Copy the file at `path` into the run as it is now: ``<namespace>/<its name>``; it has no step.

        Another file of the same name replaces it, unless it goes into another `namespace`.
        """
        from shutil import copyfileobj  # lazily: it imports every kind of archive

        source = Path(path).expanduser()
        name = check_name(f"{_folder(namespace)}{unhidden(source.name)}")
        if source.exists() and not source.is_file():  # opening a pipe would wait for whoever writes to it
            raise ValueError(f"{os.fspath(source)!r} is no file")
        with source.open("rb") as file:
            self._recording.write_whole(name, lambda copy: copyfileobj(file, copy, 1 << 20))

    # --- one at a time, so that a bad one does not stop the others

    @never_raises
    def _log_one_image(self, name: str, key: str, value: Any, channels_first: bool) -> None:
        self._log_pixels(name, key, lambda: image.as_pixels(value, channels_first=channels_first), image.encode_png)

    @never_raises
    def _log_animation(self, name: str, key: str, value: Any, fps: float, channels_first: bool) -> None:
        frames = lambda: image.as_frames(value, channels_first=channels_first)  # noqa: E731 - named for the line below
        self._log_pixels(name, key, frames, lambda pixels: image.encode_animation(pixels, fps))

    def _log_pixels(self, name: str, key: str, copy: Callable[[], Any], encode: Callable[[Any], bytes]) -> None:
        self._recording.start()  # here, and not in the encoder's thread: a forked worker may be about to leave
        try:
            pixels = copy()
        except image.BadImage as error:
            self._recording.tell_once(f"image {key}", "the image %r was not stored: %s", key, error)
            return
        job = _ImageJob(self._recording, name, key, pixels, encode)
        self._encoder.submit(name, pixels.nbytes, job.run)

    @never_raises
    def _log_one_pyplot(self, name: str, figure: Any, options: dict[str, Any]) -> None:
        self._recording.write_whole(name, image.figure_png(figure, **options))

    @never_raises
    def _log_one_tensor(self, name: str, value: Any) -> None:
        self._recording.write_whole(name, npy_writer(as_array(value)))

    @never_raises
    def _log_one_module(self, namespace: str, key: str, step: Any, module: Any) -> None:
        def tell(name: str, value: object) -> None:
            message = "%r of the module %r is no array and was left out (%s)"
            self._recording.tell_once(f"module {key} {name}", message, name, key, type(value).__name__)

        arrays = state_arrays(module, tell)
        if arrays.keys() == {""}:
            self._recording.write_whole(_file_name(namespace, key, step, "npy"), npy_writer(arrays[""]))
        elif arrays:
            self._recording.write_whole(_file_name(namespace, key, step, "npz"), npz_writer(arrays))


class _ImageJob:
    """One image on its way to its file; it knows the recording, not the logger, which may be gone by then."""

    def __init__(self, recording: Recording, name: str, key: str, pixels: Any, encode: Callable[[Any], bytes]) -> None:
        self._recording, self._name, self._key = recording, name, key
        self._pixels, self._encode = pixels, encode

    def tell_failure(self, where: str, error: Exception) -> None:
        """Count what failed as a failure of the call it belongs to."""
        self._recording.tell_failure("log_image" if where == "run" else where, error)

    @never_raises
    def run(self) -> None:
        """Encode the pixels and write the file."""
        if image.has_nan(self._pixels):
            self._recording.tell_once(
                f"nan in image {self._key}", "the image %r holds NaN, shown as 0 (black)", self._key
            )
        try:
            data = self._encode(self._pixels)
        except image.BadImage as error:
            self._recording.tell_once(f"image {self._key}", "the image %r was not stored: %s", self._key, error)
            return
        self._recording.write_whole(self._name, data)


def _taken_apart(
    step: Any, index: Any, namespace: str | Mapping[str, Any], default: str, values: dict[str, Any]
) -> tuple[Any, str, dict[str, Any]]:
    """Return step, namespace and values of a call, where a mapping in the place of one of the first two holds values."""
    for mapping in (namespace, step):
        if isinstance(mapping, Mapping):
            values = {key_text(key): value for key, value in mapping.items()} | values
    step = scalar(index if step is None or isinstance(step, Mapping) else step)
    return step, default if isinstance(namespace, Mapping) else namespace, values


def _figure(value: Any) -> Any:
    """Return the figure that `value` is, belongs to, or has as the current one."""
    figure = _figure_of(sys.modules.get("matplotlib.pyplot") if value is None else value)
    if figure is None:
        raise TypeError("there is no matplotlib figure to store; pass one as log_pyplot(step, fig)")
    return figure


def _figure_of(value: Any) -> Any:
    if callable(getattr(value, "gcf", None)):
        value = value.gcf()
    if not image.is_figure(value):
        value = getattr(value, "figure", None)
    return value if image.is_figure(value) else None


def _folder(namespace: str) -> str:
    return f"{namespace.removeprefix('./').removesuffix('/')}/" if namespace not in ("", ".", "./") else ""


def _file_name(namespace: str, key: str | None, step: Any, suffix: str) -> str:
    return f"{_checked_folder(namespace, key)}{_file_stem(step)}.{suffix}"


@functools.lru_cache(maxsize=1024)  # a run logs the same keys at every step
def _checked_folder(namespace: str, key: str | None) -> str:
    """Return the folder of a key's files, ``/`` included; raise `BadPath` where no file may be."""
    folder = _folder(namespace) + (f"{_path_text(key, _MOST_KEY_BYTES)}/" if key is not None else "")
    check_name(f"{folder}0000.png")
    return folder


def _file_stem(step: Any) -> str:
    if step is None:
        # the last three digits keep apart what one microsecond brings, in this process or in one beside it
        return f"{time.time_ns() // 1000}{(os.getpid() + next(_stepless)) % 1000:03d}"
    text = f"{step:04d}" if isinstance(step, int) else str(step)
    return _path_text(text, _MOST_STEP_BYTES)


def _path_text(text: str, most_bytes: int) -> str:
    """Return the escaped `text`, or its first piece, which ends in ``%``, ``~`` and a digest if that is more than `most_bytes`.

    No text is escaped to ``%~``, so the two are never mixed up.
    """
    escaped = escape_key(text)
    if len(escaped.encode()) <= most_bytes:
        return escaped
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{escaped.partition('/')[0]}~{digest}"

"""The colours of runs: told apart by everybody, and seen on their ground, in light and in dark."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_logger.view import __file__ as view

Array = NDArray[np.float64]

LEAST_DIFFERENCE = 0.05  # in OKLab, where black and white are 1 apart
LEAST_CONTRAST = 3.0  # of WCAG 2.2, for what is no text

SEEN_BY = {
    "most": np.eye(3),
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    "protanopes": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopes": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopes": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def palettes() -> dict[str, dict[str, str]]:
    """Return the variables with a colour, of the light theme and of the dark."""
    light, dark = (Path(view).parent / "static" / "tokens.css").read_text(encoding="utf-8").split("@media", 1)
    return {
        "light": dict(re.findall(r"--([\w-]+): (#\w{6})", light)),
        "dark": dict(re.findall(r"--([\w-]+): (#\w{6})", dark)),
    }


def linear(colour: str) -> Array:
    """Return linear RGB of a colour as CSS writes it."""
    share = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Array) -> Array:
    """Return OKLab (Ottosson 2020) of linear RGB."""
    to_cones = [
        [0.41222147, 0.53633254, 0.05144599],
        [0.2119035, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ]
    to_lab = [
        [0.21045426, 0.79361779, -0.00407205],
        [1.9779985, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ]
    return np.asarray(np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1)))


def brightness(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_two_runs_are_told_apart(theme: str, eyes: str) -> None:
    """Also by those who see two kinds of light only."""
    runs = {name: colour for name, colour in palettes()[theme].items() if name.startswith("run-")}
    assert len(runs) == 10
    seen = {name: oklab(SEEN_BY[eyes] @ linear(colour)) for name, colour in runs.items()}
    near = [(a, b) for a, b in combinations(seen, 2) if np.linalg.norm(seen[a] - seen[b]) < LEAST_DIFFERENCE]
    assert near == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_runs_are_seen_on_their_ground(theme: str) -> None:
    """A line has a contrast of 3 to 1 at least with each ground that it may be on."""
    colours = palettes()[theme]
    for ground in ("ground", "panel", "raised"):
        for name in (name for name in colours if name.startswith("run-")):
            pair = sorted((brightness(colours[name]), brightness(colours[ground])))
            assert pair[1] / pair[0] >= LEAST_CONTRAST, (name, ground)

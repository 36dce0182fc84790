"""What people write parameters as, and what is stored of it."""

import argparse
import dataclasses
import enum
import json
import types
from pathlib import Path

import numpy as np
import pytest

from ml_logger import ML_Logger
from ml_logger.params import as_section


@dataclasses.dataclass
class Optimizer:
    rate: float = 0.1
    betas: tuple = (0.9, 0.99)


@dataclasses.dataclass
class Settings:
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    layers: list = dataclasses.field(default_factory=lambda: [1, 2])


class Args:
    """Parameters written as a class."""

    seed = None
    layers = (64, 64)

    class Inner:
        x = 1


class Mode(enum.Enum):
    FAST = "fast"


class Config:
    def __init__(self):
        self.depth = 3


@pytest.mark.parametrize(
    ("value", "section"),
    [
        ({"a": {"b": Optimizer()}}, {"a": {"b": {"rate": 0.1, "betas": (0.9, 0.99)}}}),
        (Settings(), {"optimizer": {"rate": 0.1, "betas": (0.9, 0.99)}, "layers": [1, 2]}),
        (argparse.Namespace(x=1, y=argparse.Namespace(z=2)), {"x": 1, "y": {"z": 2}}),
        (types.SimpleNamespace(x=[Optimizer()]), {"x": [{"rate": 0.1, "betas": (0.9, 0.99)}]}),
        (Args, {"seed": None, "layers": (64, 64), "Inner": {"x": 1}}),
        (vars(Args), {"seed": None, "layers": (64, 64), "Inner": {"x": 1}}),
        (Config(), {"depth": 3}),
        ({1: 2, "__x__": 3, "_y": 4}, {"1": 2, "_y": 4}),
        ({"kind": dict, "mode": Mode}, {"kind": dict, "mode": Mode}),
    ],
)
def test_sections(value, section):
    """Dicts, dataclasses, namespaces, classes and their vars, nested, are sections; dunders are left out."""
    assert as_section(value) == section


@pytest.mark.parametrize("value", [1, 0.5, "text", None, True, (1, 2), [1], np.zeros(3), Path("a"), Mode.FAST, print])
def test_single_values(value):
    """A number, text, list, array, path or enum member is a value and no section."""
    assert as_section(value) is None


def test_a_section_that_holds_itself(tmp_path, caplog):
    """A cycle is stored as its repr where it begins again, and the rest is kept."""
    section = {"a": 1}
    section["self"] = section
    with ML_Logger(tmp_path) as run:
        run.log_params(S=section, lr=0.1)
    record = json.loads((tmp_path / "parameters.jsonl").read_text())
    assert (record["S"]["a"], record["lr"]) == (1, 0.1)
    assert len(caplog.messages) == 1


def test_what_changes_after_the_call(tmp_path):
    """Parameters are stored as they were at the call."""
    inner = {"x": [1]}
    with ML_Logger(tmp_path) as run:
        run.log_params(S={"inner": inner})
        inner["x"][0] = 99
    assert run.reader.params == {"S": {"inner": {"x": [1]}}}


GOLDEN = """\
═════════════════════════════════════════════════════
              G               
───────────────────────────────┬─────────────────────
           env_name            │ MountainCar-v0      
             seed              │ None                
         value_params          │ (64,)               
target_network_update_interval │ 500                 
═══════════════════════════════╧═════════════════════
             RUN              
───────────────────────────────┬─────────────────────
        log_directory          │ /mnt/slab/krypton/machine_learning/ge_dqn/2017-11-20/162048.353909-MountainCar-v0-prioritized_replay(True)
          checkpoint           │ checkpoint.cp       
           log_file            │ output.log          
═══════════════════════════════╧═════════════════════
"""  # noqa: E501, W291 - byte for byte what is printed


def test_golden_table(tmp_path, capsys, monkeypatch):
    """The table of parameters, byte for byte, on the screen and in text.log; values are never cut."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    place = "/mnt/slab/krypton/machine_learning/ge_dqn/2017-11-20/162048.353909-MountainCar-v0-prioritized_replay(True)"
    with ML_Logger(tmp_path) as run:
        run.log_params(
            G={
                "env_name": "MountainCar-v0",
                "seed": None,
                "value_params": (64,),
                "target_network_update_interval": 500,
            },
            RUN={"log_directory": place, "checkpoint": "checkpoint.cp", "log_file": "output.log"},
        )
    assert capsys.readouterr().out == GOLDEN == (tmp_path / "text.log").read_text()

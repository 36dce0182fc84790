"""Two machines on a wire that can be pulled: veth interfaces between two network namespaces.

When one end is down the packets of the other vanish: no reset, no refusal, no ICMP tells the sender. Nothing is touched outside
of the two namespaces.
"""

from __future__ import annotations

import shutil

import pytest
from machine import Machine

NEAR_HOST, FAR_HOST = "10.99.0.1", "10.99.0.2"
"""Addresses of the two machines; they are private to the namespaces, so all tests can use the same."""

_WIRE = "wire"


class Network:
    """Two machines, `near` and `far`, joined by one wire, from now until `end`."""

    def __init__(self) -> None:
        if shutil.which("ip") is None:
            pytest.skip("there is no ip(8) to join network namespaces with")
        self.near, self.far = Machine("net"), Machine("net")
        self.near.run("ip", "link", "add", _WIRE, "type", "veth", "peer", "name", _WIRE, "netns", self.far.pid)
        for machine, host in ((self.near, NEAR_HOST), (self.far, FAR_HOST)):
            machine.run("ip", "address", "add", f"{host}/24", "dev", _WIRE)
            machine.run("ip", "link", "set", "lo", "up")
            machine.run("ip", "link", "set", _WIRE, "up")

    def pull(self, machine: Machine) -> None:
        """Take the interface of `machine` down."""
        machine.run("ip", "link", "set", _WIRE, "down")

    def plug(self, machine: Machine) -> None:
        """Bring the interface of `machine` up again."""
        machine.run("ip", "link", "set", _WIRE, "up")

    def end(self) -> None:
        """Let both machines go, and the wire with them."""
        self.near.end()
        self.far.end()

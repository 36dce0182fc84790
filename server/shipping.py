"""The calls that ship: what is held, a batch, the lineage, heartbeats."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import orjson
from aiohttp import web

from .. import wire
from ..wire import Item, Manifest, Outcome, Result
from .answers import json_answer
from .auth import OUTSIDE, Caller
from .bodies import Intake
from .figures import Figures
from .heartbeats import Heartbeats
from .lineage import Marks
from .quotas import Quotas
from .siblings import Siblings
from .store import Store

_FLUSH_STEP_S = 0.25
_MAX_FLUSH_S = 10.0

_log = logging.getLogger(__name__)


class Shipping:
    """The handlers, and what they share."""

    def __init__(
        self, store: Store, intake: Intake, marks: Marks, quotas: Quotas, figures: Figures, siblings: Siblings
    ) -> None:
        self._store, self._intake, self._marks, self._quotas = store, intake, marks, quotas
        self._figures, self._siblings = figures, siblings
        self.heartbeats = Heartbeats(time.monotonic)

    async def start(self, _app: web.Application) -> None:
        """Hear of the agents that speak to other workers."""
        self._siblings.listen(lambda prefix, body: self.heartbeats.take(body, prefix))

    async def stat(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``POST /v1/stat``; of what is not the caller's nothing is held."""
        return json_answer(await self._intake.work_on(request, partial(self._stat, caller), "max_json_bytes"))

    def _stat(self, caller: Caller, body: bytes) -> bytes:
        paths = wire.decode_stat_request(body, max_paths=self._intake.limits.max_paths)
        own = [path for path in paths if caller.may_enter(path)]
        held = dict(zip(own, self._store.stat(own), strict=True))
        return wire.encode_stat_answer(paths, [held.get(path) for path in paths])

    async def batch(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``POST /v1/batch``; an item that is not the caller's to write costs itself, not the batch."""
        answer, results, seconds = await self._intake.work_on(request, partial(self._batch, caller))
        self._figures.count_batch(results, seconds)
        return json_answer(answer)

    def _batch(self, caller: Caller, body: bytes) -> tuple[bytes, list[Result], float]:
        limits, start = self._intake.limits, time.monotonic()
        manifest, payloads = wire.split_batch(
            body, max_manifest_bytes=limits.max_manifest_bytes, max_items=limits.max_items
        )
        outcomes = self._apply(caller, manifest, payloads)
        _log.debug("batch of %d items, %d bytes: %.3f s", len(outcomes), len(body), time.monotonic() - start)
        self._marks.note_stored()
        mark = self._marks.since(None).mark
        answer = wire.encode_outcomes(outcomes, next_flush_s=self._next_flush_s(), mark=mark)
        return answer, [outcome.result for outcome in outcomes], time.monotonic() - start

    def _apply(self, caller: Caller, manifest: Manifest, payloads: Sequence[memoryview]) -> list[Outcome]:
        items = manifest.items
        outside = _outside(caller, items)
        inside = {index: item for index, item in enumerate(items) if index not in outside}
        with self._quotas.admitting(manifest.source, inside) as admission:
            reasons = {**outside, **admission.refused}
            own = [index for index in inside if index not in reasons]
            part = manifest if not reasons else replace(manifest, items=tuple(items[index] for index in own))
            found = dict(zip(own, self._store.apply(part, [payloads[index] for index in own]), strict=True))
            admission.outcomes.update(found)
        return [found.get(index) or refusal(item, reasons[index]) for index, item in enumerate(items)]

    def _next_flush_s(self) -> float:
        """Return how long agents had better wait between batches: nothing, unless as many wait for a slot as there are."""
        crowd = self._intake.crowd
        return min(_FLUSH_STEP_S * crowd, _MAX_FLUSH_S) if crowd >= 1 else 0.0

    async def lineage(self, request: web.Request, _caller: Caller) -> web.Response:
        """Answer ``POST /v1/lineage``."""
        return json_answer(await self._intake.work_on(request, self._lineage, "max_json_bytes"))

    def _lineage(self, body: bytes) -> bytes:
        return wire.encode_lineage(self._marks.since(wire.decode_lineage_request(body)))

    async def heartbeat(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``POST /v1/heartbeat``."""
        async with self._intake.read(request) as chunks:
            body = b"".join(chunks)
        self.heartbeats.take(body, caller.prefix)
        self._siblings.tell(caller.prefix, body)
        return json_answer(orjson.dumps({"v": wire.VERSION}))

    async def agents(self, _request: web.Request, caller: Caller) -> web.Response:
        """Answer ``GET /v1/agents``: those whose tokens are confined to where the caller may look."""
        return json_answer(wire.encode_agents(self.heartbeats.agents(caller.may_enter)))


def _outside(caller: Caller, items: Sequence[Item]) -> dict[int, str]:
    """Return the places of the items that are not the caller's to write, and why they are refused."""
    return {index: OUTSIDE for index, item in enumerate(items) if not caller.may_enter(item.path)}


def refusal(item: Item, reason: str) -> Outcome:
    """Return the outcome of an item that is refused before any store sees it."""
    return Outcome(item.path, item.op, "rejected", item.offset, item.length, item.crc, reason=reason)

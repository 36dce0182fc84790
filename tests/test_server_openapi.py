"""A running receiver is what ``docs/openapi.yaml`` says: the same calls, and only answers of the shapes described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import yaml
from batches import append
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Site, serving

from ml_logger.server import admission
from ml_logger.server.app import make_app
from ml_logger.server.auth import Door
from ml_logger.server.config import Limits
from ml_logger.server.lineage import Marks
from ml_logger.server.local_store import LocalStore
from ml_logger.server.viewing import is_of_the_page
from ml_logger.wire import Manifest

DOCUMENT = Path(__file__).parent.parent / "docs" / "openapi.yaml"
EXAMPLES = 20
TOKEN = "a-token-for-tests"
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@schemathesis.serializer("application/x-ml-logger-batch")
def as_it_is(_ctx: schemathesis.SerializationContext, value: bytes) -> bytes:
    """Send a batch's body as it was made."""
    return value


schema = schemathesis.openapi.from_path(str(DOCUMENT))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    store = LocalStore(tmp_path_factory.mktemp("openapi") / "data")
    item, payload = append("run/m.jsonl", b'{"_step":0}\n')
    store.apply(Manifest("me", (item,)), [payload])
    with pytest.MonkeyPatch.context() as patched, serving(store, token=TOKEN) as site:
        patched.setattr(admission, "wait_s", lambda _count: 0.0)  # some cases take the token away
        yield site
    store.close()


def test_the_document_names_every_call_and_no_other(tmp_path: Path) -> None:
    """What is routed is described, method by method, and what is described is routed; the page's calls are its own."""
    store = LocalStore(tmp_path / "data")
    app = make_app(store, Door(None), Limits(), Marks(tmp_path / "marks"))
    routed = {
        (route.method.lower(), route.resource.canonical.replace("{path:.*}", "{path}"))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD" and not is_of_the_page(route.resource.canonical)
    }
    store.close()
    document = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    methods = {"get", "put", "post", "delete"}
    described = {(m, path) for path, calls in document["paths"].items() for m in calls if m in methods}
    assert described == routed


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
def test_answers_are_of_the_shapes_described(site: Site, case: schemathesis.Case) -> None:
    """Requests made from the document, and ones that break it, get answers that the document describes."""
    case.headers["Authorization"] = f"Bearer {TOKEN}"
    response = case.call(base_url=site.url, session=site.session)
    case.validate_response(response, checks=CHECKS)

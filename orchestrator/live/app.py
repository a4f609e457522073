"""App: the live page's addresses. What they tell is made by `watch`, `facts` and `questions`; it decides nothing.

/                       the page, and page.css, page.js, icon.svg; plotly-<version>.js from the package plotly
/api/news               all that changes by itself
/api/stages/<key>       one stage
/api/claims             verdicts on a sweep's claims
/api/tables             which tables and columns there are
/api/sql                the rows of a statement
"""

from __future__ import annotations

import gzip
import json
import threading
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.live.facts import claims_facts, stage_facts
from orchestrator.live.gate import Gate
from orchestrator.live.questions import Questions
from orchestrator.store import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from orchestrator.live.watch import Watch

PARTS = {"page.css": "text/css", "icon.svg": "image/svg+xml"}
PARTS |= {f"{name}.js": "text/javascript" for name in ("page", "plots", "table", "detail", "panels", "dom")}
YEAR = "public, max-age=31536000, immutable"
KEY, LONGEST = "^[0-9a-f]{16}$", 1000  # of a sweep's name: a store that somebody made up has any


def make_app(watch: Watch, questions: Questions, token: str = "", host: str = "127.0.0.1", port: int = 0) -> ASGIApp:
    """The page of one store, behind its gate; the arguments after the second are told by `Gate`."""
    from fastapi import FastAPI, Path, Query
    from fastapi.exceptions import RequestValidationError
    from starlette.middleware.gzip import GZipMiddleware

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    page, claims, reading = page_with_library(), Claims(watch), threading.Lock()
    store = Store(watch.store.root)

    @app.get("/")
    def index() -> Any:
        return text(page, "text/html", "no-cache")

    @app.get("/{name}")
    def part(name: str) -> Any:
        if name == library_name():
            return library()
        return text(page_part(name), PARTS[name], "no-cache") if name in PARTS else answer({"error": "not here"}, 404)

    @app.get("/api/news")
    def news(sweep: str = Query("", max_length=LONGEST), life: str = "", since: int = Query(0, ge=0)) -> Any:
        return answer(watch.news(sweep, life, since))

    @app.get("/api/stages/{key}")
    def stage(key: str = Path(pattern=KEY), sweep: str = Query("", max_length=LONGEST)) -> Any:
        with reading:
            found = stage_facts(watch, store, key, sweep)
        return answer({"error": f"The store does not know a stage {key}."}, 404) if found is None else answer(found)

    @app.get("/api/claims")
    def verdicts(sweep: str = Query(max_length=LONGEST)) -> Any:
        return answer(claims.of(sweep))

    @app.get("/api/tables")
    def tables() -> Any:
        return answer(questions.tables())

    @app.post("/api/sql")
    def sql(asked: dict[str, str]) -> Any:
        return answer(questions.ask(asked.get("sql", "")))

    @app.exception_handler(SweepError)
    @app.exception_handler(OSError)
    def refused(_: Request, error: Exception) -> Response:
        return answer({"error": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def misspelt(_: Request, error: RequestValidationError) -> Response:
        return answer({"error": "; ".join(str(one["msg"]) for one in error.errors())}, 422)

    return Gate(GZipMiddleware(app, minimum_size=1000, compresslevel=5), token, host, port)


class Claims:
    """Verdicts on claims, judged again only after something is new, by one thread at a time."""

    def __init__(self, watch: Watch) -> None:
        """Judge nothing yet."""
        self.watch, self._lock = watch, threading.Lock()
        self._known: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    def of(self, sweep: str) -> dict[str, Any]:
        """The verdicts on the claims of a sweep.

        Raises:
            ConfigError: its file may not be run, or is gone.
        """
        with self._lock:
            changes = self.watch.changes
            if self._known.get(sweep, (-1,))[0] != changes:
                found = self.watch.overviews.find(sweep).sweep
                self._known[sweep] = changes, claims_facts(Store(self.watch.store.root), found)
            return {"changes": changes, "verdicts": self._known[sweep][1]}


def answer(facts: Any, status: int = 200) -> Response:
    """`facts` as JSON that no browser keeps."""
    from starlette.responses import Response

    body = json.dumps(facts, allow_nan=False, separators=(",", ":"), default=str)
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


def text(body: str, kind: str, caching: str) -> Response:
    """A part of the page."""
    from starlette.responses import Response

    return Response(body, 200, {"cache-control": caching}, kind)


@cache
def page_part(name: str) -> str:
    """A file of the page."""
    return files("orchestrator.live").joinpath("page", name).read_text(encoding="utf-8")


@cache
def page_with_library() -> str:
    """The page, which names plotly.js by its version, so that browsers may keep it for ever."""
    return page_part("index.html").replace("plotly.js", library_name())


@cache
def library_name() -> str:
    """The address of plotly.js."""
    from plotly.offline import get_plotlyjs_version

    return f"plotly-{get_plotlyjs_version()}.js"


@cache
def compressed_library() -> bytes:
    """plotly.js; compressed once, as that takes a third of a second."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), 6)


def library() -> Response:
    """plotly.js from the package plotly."""
    from starlette.responses import Response

    headers = {"cache-control": YEAR, "content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(compressed_library(), 200, headers, "text/javascript")

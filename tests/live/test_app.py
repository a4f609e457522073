"""What the page is told by its server: right, harmless and not more than it can show."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from plotly.offline import get_plotlyjs

from orchestrator.catalogue import find
from orchestrator.claims import claims_of
from orchestrator.live.app import library_name
from orchestrator.live.questions import MOST_ROWS
from orchestrator.store import Store
from tests.live.conftest import HOSTILE, Served, little, made, one_failed, serving, until
from tests.orchestrator.made_store import EPOCHS, fill

NEWS = "/api/news?sweep=quickstart"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with one failed stage, which the tests below only read."""
    store = Store(str(tmp_path_factory.mktemp("shown") / "store"))
    fill(store, little(), one_failed())
    return store


@pytest.fixture(scope="module")
def page(shown: Store) -> Iterator[httpx.Client]:
    """Its server."""
    with serving() as start, httpx.Client(base_url=start(shown)) as client:
        until(lambda: client.get(NEWS).json().get("progress"))
        yield client


def sql(page: httpx.Client, text: str) -> dict[str, object]:
    """What the SQL box gets."""
    answered: dict[str, object] = page.post("/api/sql", json={"sql": text}).json()
    return answered


def test_news_tells_models_once_and_progress_every_time(page: httpx.Client) -> None:
    """Ten thousand models sent anew every two seconds would keep a laptop's fan on."""
    first = page.get(NEWS).json()

    again = page.get(f"{NEWS}&life={first['life']}&since={first['known']}").json()

    assert (len(first["models"]), again["models"]) == (12, [])
    assert again["progress"]["counts"] == {"done": 15, "failed": 1}


def test_another_life_is_told_from_the_start(page: httpx.Client) -> None:
    """After a restart of the server, a page that waits for model 12 would show nothing new for ever."""
    assert len(page.get(f"{NEWS}&life=gone&since=12").json()["models"]) == 12


def test_a_stage_tells_its_curve_lineage_and_settings(page: httpx.Client, shown: Store) -> None:
    """Whoever clicks a dot wants to know what it is, and where it comes from."""
    (row,) = shown.sql("SELECT * FROM stages WHERE parent IS NOT NULL AND status = 'done' LIMIT 1").to_pylist()
    shown.keep_log(row["key"], ["epoch 4 of 4", "committed"])

    found = page.get(f"/api/stages/{row['key']}?sweep=quickstart").json()

    assert found["curve"]["epoch"] == list(range(1, EPOCHS + 1))
    assert [above["key"] for above in found["above"]] == [row["parent"]]
    assert ["batch size", row["batch_size"]] in found["settings"]
    assert found["log"][-1] == "committed"
    assert row["key"] in [below["key"] for below in page.get(f"/api/stages/{row['parent']}").json()["below"]]


def test_a_failed_stage_tells_its_traceback(page: httpx.Client, shown: Store) -> None:
    """The error's last line alone seldom says what went wrong."""
    (key,) = shown.sql("SELECT key FROM stages WHERE status = 'failed'")["key"].to_pylist()

    found = page.get(f"/api/stages/{key}").json()

    assert (found["error"], found["traceback"], found["curve"]) == (HOSTILE, "made", {})


def test_a_running_stage_tells_who_trains_it(page: httpx.Client, shown: Store) -> None:
    """A stage that runs is what people look for first."""
    key = "ab" * 8
    shown.note_running(
        key, {"attempts": 1, "wall_seconds": 0.0, "started_at": "2026-01-01T00:00:00+00:00", "host": "n1"}
    )

    found = page.get(f"/api/stages/{key}").json()

    assert found["running"]["host"] == "n1"


@pytest.mark.parametrize("key", ["x", "../../etc/passwd", "%2e%2e%2fwarmgrid", "0" * 17, "' OR 1=1 --", "A" * 16])
def test_what_is_no_key_is_refused(page: httpx.Client, key: str) -> None:
    """A key goes into a path and into SQL."""
    assert page.get(f"/api/stages/{key}").status_code in (404, 422)


def test_a_stage_that_nobody_knows_is_said_to_be_unknown(page: httpx.Client) -> None:
    """A link to a stage of another store must not look like a broken page."""
    answered = page.get(f"/api/stages/{'0' * 16}")

    assert (answered.status_code, "does not know" in answered.json()["error"]) == (404, True)


def test_sql_gives_rows(page: httpx.Client) -> None:
    """The box is for the question that no picture answers."""
    found = sql(page, "SELECT status, count(*) AS n FROM stages GROUP BY ALL ORDER BY 1")

    assert (found["columns"], found["rows"]) == (["status", "n"], [["done", 15], ["failed", 1]])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELECT nope FROM results", "no column 'nope'"),
        ("DROP TABLE results", "refused"),
        ("COPY results TO 'x.csv'", "refused"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT * FROM read_csv('/etc/passwd')", "SQL:"),
        ("", "SQL:"),
        ("SELECT repeat('a', 100000) FROM range(200)", "20 MB are too much"),
    ],
)
def test_sql_that_cannot_be_is_answered_with_why(page: httpx.Client, text: str, why: str) -> None:
    """A page that can write or read files is a hole; one that only says 500 is no help."""
    answered = page.post("/api/sql", json={"sql": text})

    assert (answered.status_code, why in answered.json()["error"]) == (422, True)


def test_sql_shows_the_first_rows_of_many(page: httpx.Client) -> None:
    """A million rows would freeze the browser."""
    found = sql(page, "SELECT * FROM range(10000000000)")

    assert (len(found["rows"]), found["is_more"]) == (MOST_ROWS, True)  # type: ignore[arg-type]


def test_values_that_json_has_no_type_for_are_shown(page: httpx.Client) -> None:
    """NaN in an answer is no JSON, and the browser would show nothing at all."""
    found = sql(
        page,
        "SELECT 'nan'::DOUBLE AS a, [1, 'inf'::DOUBLE] AS b, DATE '2026-01-02' AS c, 1.5::DECIMAL(4,2) AS d, "
        "9007199254740993 AS e",
    )

    assert found["rows"] == [[None, [1.0, None], "2026-01-02", 1.5, "9007199254740993"]]


def test_sql_ends_when_its_time_is_over(filled: Store, served: Served) -> None:
    """One careless cross join would take a core of the login node until somebody notices."""
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"

    with httpx.Client(base_url=served(filled, limit_s=0.2)) as client:
        answered = client.post("/api/sql", json={"sql": endless})

    assert (answered.status_code, "0.2 s" in answered.json()["error"]) == (422, True)


def test_tables_tell_their_columns(page: httpx.Client) -> None:
    """Nobody knows a table's columns by heart."""
    tables = {table["name"]: table["columns"] for table in page.get("/api/tables").json()}

    assert {"results", "stages", "epochs", "cells"} == set(tables)
    assert all(column["sentence"] for column in tables["stages"])


def test_claims_come_with_their_verdicts(store: Store, served: Served) -> None:
    """A claim that the page shows as decided must be what `warmgrid claims` says."""
    figure1 = find("figure1").sweep
    fill(store, figure1, made)

    found = httpx.get(f"{served(store)}api/claims?sweep=figure1").json()["verdicts"]

    assert [one["outcome"] for one in found] == [str(verdict.outcome) for verdict in claims_of(store, [figure1])]


def test_a_sweep_that_no_store_of_ours_names_so_is_no_error(page: httpx.Client) -> None:
    """A store that somebody made up may list one; the page must go on, for the other sweeps in it."""
    news = page.get("/api/news", params={"sweep": "../<b>"})

    assert (news.status_code, [one["name"] for one in news.json()["sweeps"]]) == (200, ["quickstart"])
    assert page.get("/api/claims", params={"sweep": "../launches/quickstart"}).status_code == 422


def test_plotly_comes_from_here_compressed_and_is_kept(page: httpx.Client) -> None:
    """Five megabytes at every reload, over a tunnel to a cluster, is a minute; from another host it is a leak."""
    answered = page.get(f"/{library_name()}")

    assert (answered.headers["content-encoding"], "immutable" in answered.headers["cache-control"]) == ("gzip", True)
    assert int(answered.headers["content-length"]) < 2_000_000
    assert answered.text == get_plotlyjs()
    assert library_name() in page.get("/").text


def test_answers_are_compressed(page: httpx.Client) -> None:
    """Ten thousand models are a megabyte and a half of text."""
    assert page.get(NEWS).headers["content-encoding"] == "gzip"


def test_nothing_else_of_this_machine_is_served(page: httpx.Client) -> None:
    """An address that becomes a path is how servers lose files."""
    for address in ("/app.py", "/..%2fapp.py", "/%2e%2e/warmgrid.json", "/docs", "/openapi.json", "/page/index.html"):
        assert page.get(address).status_code == 404


def test_news_is_json_that_every_browser_reads(page: httpx.Client) -> None:
    """Python writes NaN where JSON has none."""
    json.loads(page.get(NEWS).text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

"""A store in a bucket keeps what a folder keeps, through lost connections and slow or overloaded servers."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import bucket as module
from orchestrator import worker
from orchestrator.bucket import ONE_PUT, BucketFiles
from orchestrator.errors import ConfigError, StoreError
from orchestrator.files import open_files
from orchestrator.store import Store
from tests.orchestrator.fake_trainer import ROOT, Lab, run, two_rounds
from tests.orchestrator.launches import go, results
from tests.s3 import SLOW_DOWN, Fault, Network, answer, ask

OLD, NEW = b"old" * 10_000, b"new" * 20_000
LARGE = bytes(range(256)) * 2**12 * 10 + NEW  # two parts, of which pyarrow makes the first 10 MiB
CUT, LOST = Fault(cut_after=20_000), Fault(loses_answer=True)
BUSY = Fault(instead=answer("503 Slow Down", SLOW_DOWN))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, so that no test waits."""
    monkeypatch.setattr(module, "WAITS_S", (0.0,) * 4)
    monkeypatch.setattr(module, "FIRST_WAITS_S", (0.0,) * 2)


@pytest.fixture
def files(network: Network, bucket: str, hasty: None) -> BucketFiles:
    """A store's files behind the network, which has said once that they are not there yet."""
    opened = BucketFiles(bucket)
    assert not opened.there()
    network.requests.clear()
    return opened


@pytest.fixture
def looking(bucket: str, s3_server: int, hasty: None) -> BucketFiles:
    """The same files past the network, as another process sees them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_server}")
        opened = BucketFiles(bucket)
        assert opened.list() == []
    return opened


def uploads(bucket: str) -> list[str]:
    """Uploads in parts that were begun and neither completed nor given up."""
    return ask(f"/{bucket.split('/')[2]}?uploads").split("<Upload>")[1:]


@pytest.mark.parametrize("size", [0, 1000, ONE_PUT])
def test_a_small_file_is_one_put(files: BucketFiles, network: Network, bucket: str, size: int) -> None:
    """Between two requests a reader could see half a row, and parts that are never put together cost money unseen."""
    files.write("stages/a", b"x" * size)

    assert network.requests == [f"PUT /{bucket.removeprefix('s3://')}/stages/a"]
    assert uploads(bucket) == []


def test_a_large_file_gets_its_name_when_all_of_it_is_there(
    files: BucketFiles, looking: BucketFiles, network: Network, bucket: str
) -> None:
    """Weights are uploaded in parts for minutes; a child that starts from half of them learns nonsense."""
    files.write("weights/a", OLD)
    seen: list[tuple[str, bytes]] = []
    network.fault = lambda request: seen.append((request.split("?")[0], looking.read("weights/a")))

    files.write("weights/a", LARGE)

    named = f"PUT /{bucket.removeprefix('s3://')}/weights/a"
    before = seen[: [request for request, _ in seen].index(named) + 1]
    assert len(before) == 6  # begin, two parts, complete, compare the size, and the copy that gives the name
    assert {content for _, content in before} == {OLD}
    assert looking.read("weights/a") == LARGE
    assert uploads(bucket) == []


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        pytest.param(NEW, {1: Fault(cut_after=200)}, id="small-cut at once"),
        pytest.param(NEW, {1: CUT}, id="small-cut in the middle"),
        pytest.param(NEW, {1: LOST}, id="small-answer lost"),
        pytest.param(NEW, {1: BUSY}, id="small-busy"),
        pytest.param(LARGE, {1: CUT, 2: CUT, 3: LOST, 4: CUT, 5: LOST}, id="large"),
    ],
)
def test_a_fault_in_any_request_of_an_upload_shows_nothing_half_written(
    files: BucketFiles,
    looking: BucketFiles,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    faults: dict[int, Fault],
) -> None:
    """Pyarrow leaves an empty file under the name when a part fails; a reader would set a good result aside."""
    seen = set()
    monkeypatch.setattr(module.time, "sleep", lambda _: seen.add(looking.read("weights/a")))
    for number, fault in faults.items():
        looking.write("weights/a", OLD)
        network.nth(number, "P", fault)  # PUT or POST: for a large file begin, two parts, complete, copy

        files.write("weights/a", data)

        assert looking.read("weights/a") == data
    assert seen in ({OLD}, {data}, {OLD, data})
    assert looking.list("weights") == ["a"]


@pytest.mark.parametrize("kind", ["HEAD", "GET"])
@pytest.mark.parametrize("fault", [Fault(cut_after=10), Fault(loses_answer=True), BUSY], ids=["cut", "lost", "busy"])
def test_a_fault_in_any_request_of_a_reader_is_asked_again(
    files: BucketFiles, network: Network, fault: Fault, kind: str
) -> None:
    """A file that could not be read once must not count as missing, and be trained again."""
    files.write("stages/a", OLD)
    asked = {
        "read": lambda: files.read("stages/a"),
        "exists": lambda: files.exists("stages/a"),
        "list": lambda: files.list("stages"),
        "write_once": lambda: files.write_once("stages/a", NEW),
        "there": files.there,
    }
    found = {}
    for name, call in asked.items():
        network.nth(1, kind, fault)
        found[name] = call()

    assert found == {"read": OLD, "exists": True, "list": ["a"], "write_once": False, "there": True}


def test_a_file_that_grows_while_it_is_read_is_read_whole(
    files: BucketFiles, looking: BucketFiles, network: Network
) -> None:
    """Pyarrow asks for the size first and then for so many bytes: a note of a running stage would be cut off."""
    files.write("running/a", OLD)
    network.fault = lambda request: looking.write("running/a", NEW) if request.startswith("GET") else None

    assert files.read("running/a") == NEW


@pytest.mark.parametrize("has_md5", [True, False])
def test_a_file_that_shrinks_while_it_is_read_brings_no_rubbish(
    files: BucketFiles, looking: BucketFiles, network: Network, monkeypatch: pytest.MonkeyPatch, has_md5: bool
) -> None:
    """Pyarrow fills up with whatever is in memory, and the file may have its old length again by the next look."""
    if not has_md5:
        monkeypatch.setattr(module, "md5", lambda *_, **__: hashlib.md5(b"encrypted"))
    files.write("running/a", NEW)
    later = [("GET", OLD), ("HEAD", b"end" * 20_000)]  # short when it is read, and long again at the next look

    def change(request: str) -> None:
        if later and request.startswith(later[0][0]):
            looking.write("running/a", later.pop(0)[1])

    network.fault = change

    data = files.read("running/a")

    assert data in (OLD, b"end" * 20_000)


def test_a_server_that_answers_late_is_waited_for(files: BucketFiles, network: Network) -> None:
    """A busy object store takes seconds for what usually takes milliseconds."""
    network.fault = lambda _: Fault(delay_s=0.2)

    files.write("stages/a", OLD)

    assert files.read("stages/a") == OLD
    assert len(network.requests) == 3  # nothing was asked twice


def test_a_server_that_never_answers_is_given_up(
    network: Network, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that waits for ever holds its GPU for ever."""
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 1.0)
    monkeypatch.setattr(module, "FIRST_WAITS_S", ())
    network.fault = lambda _: Fault(delay_s=20.0)

    with pytest.raises(StoreError, match=r"Timeout was reached.*the last 1 seconds"):
        BucketFiles(bucket).list()


def test_a_server_that_stays_away_is_one_clear_error(
    files: BucketFiles, network: Network, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes back in the morning must read who did not answer, how long it was tried, and what to do."""
    files.write("stages/a", OLD)
    network.is_down = True

    for call in (files.read, files.modified, files.touch, files.list, files.exists, lambda n: files.write(n, NEW)):
        with pytest.raises(StoreError, match=rf"cannot .* {bucket}/stages/a: {network.url}, asked 5 times in .*resume"):
            call("stages/a")
    files.delete("stages/a")
    network.is_down = False

    assert f"cannot remove {bucket}/stages/a" in caplog.text
    assert files.read("stages/a") == OLD


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_what_is_refused_is_not_asked_again(files: BucketFiles, network: Network, bucket: str, code: str) -> None:
    """A password does not become right by trying; its holder must know which variables to look at."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    network.fault = lambda _: Fault(instead=answer("403 Forbidden", body))

    with pytest.raises(StoreError, match=r"asked once: .*AWS_ACCESS_KEY_ID \(set\)") as caught:
        files.write("stages/a", OLD)
    with pytest.raises(ConfigError, match=f"--store {bucket}: cannot read"):
        BucketFiles(bucket).list()

    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize(
    "root",
    ["s3://", "s3:///a", "s3://UPPER/a", "s3://bucket/a//b", "s3://bucket/../a", "s3://bucket/.a/b", "file:///a", "S4://a",
     "http://bucket/a", "s3://key:secret@bucket/a", "s3://bucket/a?endpoint_override=x", "s3://bucket/a#b", "s3://b"],
)  # fmt: skip
def test_what_is_no_bucket_is_refused_before_anybody_is_asked(root: str) -> None:
    """A mistyped store must be found before a night of training, and a password must not end up in a log."""
    with pytest.raises(ConfigError, match="--store") as caught:
        open_files(root)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("root", ["s3://bucket", "s3://bucket/", "gs://bucket_of-mine/some/prefix/"])
def test_a_bucket_with_or_without_a_prefix_is_a_store(root: str) -> None:
    """Opening asks nobody, not even for a password."""
    assert open_files(root).root == root.rstrip("/")


def test_google_out_of_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be tested of gs:// without an account: it asks Google's own client, and passes on its answer."""
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(module, "GOOGLE_RETRY_S", 1)
    monkeypatch.setattr(module, "FIRST_WAITS_S", ())

    with pytest.raises(StoreError, match=r"cannot read gs://bucket/store: Google Cloud Storage, .*GOOGLE_APPLICATION"):
        open_files("gs://bucket/store").list()


def test_a_bucket_itself_can_be_the_store(bucket: str) -> None:
    """The shortest thing that a user can write."""
    files = open_files(bucket.removesuffix("/some/store"))
    files.write("a", OLD)
    files.write("stages/a", OLD)

    assert (files.list(), files.list("stages"), files.now() > 0, files.tidy()) == (["a"], ["a"], True, 0)


def test_a_bucket_that_is_not_there_is_named(bucket: str, hasty: None) -> None:
    """An empty answer would look like an empty store, and everything would be trained again."""
    with pytest.raises(ConfigError, match="there is no bucket 'no-such-bucket' at http://"):
        open_files("s3://no-such-bucket/store").there()


def test_an_address_that_is_none_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost:9000`` looks like an address, and is none."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost:9000")

    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL=localhost:9000: not an address such as"):
        open_files(bucket).there()


def test_a_file_that_cannot_be_set_aside_because_the_server_is_away_stays(
    files: BucketFiles, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader must still be told which file does not count."""
    files.write("stages/a", OLD)
    network.fault = lambda request: BUSY if request.startswith("PUT") else None

    files.set_aside("stages/a", "torn")

    assert "stages/a: torn. It does not count. It cannot be set aside: cannot write" in caplog.text
    assert files.list("stages") == ["a"]


def test_a_file_that_was_set_aside_is_named_though_the_answer_was_lost(
    files: BucketFiles, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a result would vanish without a word."""
    files.write("stages/a", OLD)
    network.nth(1, "DELETE", LOST)

    files.set_aside("stages/a", "torn")

    assert "stages/a: torn. It does not count, and is kept as" in caplog.text
    assert (files.list("stages"), len(files.list("set_aside"))) == ([], 2)


@pytest.fixture
def store(files: BucketFiles, bucket: str) -> Store:
    """A store in the bucket behind the network."""
    return Store(bucket)


def test_what_is_out_of_reach_is_not_taken_for_damaged(store: Store, network: Network) -> None:
    """A row that the network hides for a minute would be set aside, and its stage trained again."""
    stage = two_rounds(0.1, "fresh", 0)[0]
    row = run(stage, store).row
    network.fault = lambda request: BUSY if request.startswith("GET") and f"{stage.key}." in request else None

    asked = (lambda at: at.find_row(stage.key), lambda at: at.committed(), lambda at: at.sql("SELECT * FROM stages"))
    for call in (*asked, lambda at: at.load_state(stage.key)):
        with pytest.raises(StoreError, match=r"cannot read .*once it answers again, resume"):
            call(Store(store.root))
    network.fault = lambda _: None

    assert store.files.list("set_aside") == []
    assert store.find_row(stage.key) == row


def test_a_launch_into_a_bucket_gives_what_a_folder_gives(store: Store, lab: Lab, straight: list[Any]) -> None:
    """Where results are kept must not change one bit of them: rows, epochs, and children that start from weights."""
    assert go(store, lab).exit_code == 0

    assert results(store) == straight
    assert store.sql("SELECT count(*) AS n FROM results").to_pylist() == [{"n": 8}]
    assert (store.files.list("running"), store.files.list("leases"), store.files.list("stop")) == ([], [], [])


def test_a_launch_that_was_stopped_goes_on_from_its_checkpoint_in_the_bucket(
    store: Store, lab: Lab, straight: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spot machine goes with its disk; what is in the bucket must be enough to go on, elsewhere."""
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.0)  # an epoch here takes no second
    lab.spoil("SIGTERM", 2, seed=1, round=1, lr=0.2)

    stopped = go(store, lab)
    (running,) = store.noted()
    epochs = store.load_checkpoint(running).facts["rows"][-1]["epoch"]
    lab.mend()

    assert (stopped.exit_code, epochs) == (75, 2)
    assert go(Store(store.root), lab).exit_code == 0
    assert results(store) == straight


def test_a_launch_through_a_bad_network_gives_the_same(
    store: Store, lab: Lab, network: Network, straight: list[Any]
) -> None:
    """Every seventh request fails in one way or another, for as long as the launch takes."""
    faults, count = itertools.cycle([Fault(cut_after=100), Fault(loses_answer=True), BUSY]), itertools.count()
    network.fault = lambda _: next(faults) if next(count) % 7 == 6 else None

    summary = go(store, lab)
    network.fault = lambda _: None

    assert summary.exit_code == 0
    assert results(store) == straight


def test_a_server_that_goes_away_in_mid_launch_costs_what_was_not_committed(
    store: Store, lab: Lab, network: Network, straight: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An object store that is away for an hour must end a launch with a clear word, not with half a result."""
    place, count = f"PUT /{store.root.removeprefix('s3://')}/stages/", itertools.count(1)

    def third_commit(request: str) -> Fault | None:
        network.is_down = request.startswith(place) and request != place and next(count) == 3
        return None

    network.fault = third_commit
    with contextlib.suppress(StoreError):
        summary = go(store, lab)
        assert summary.exit_code == 1
        assert all(f"{network.url}, asked 5 times" in report.error for report in summary.reports if report.error)
    network.is_down, network.fault = False, lambda _: None
    trained = len(lab.trained)

    assert len(store.committed()) == 2
    for claim in store.files.list("leases"):  # could not be taken back, and would end by itself after a minute
        store.files.delete(f"leases/{claim}")
    assert go(store, lab).exit_code == 0
    assert len(lab.trained) - trained <= 8
    assert results(store) == straight


def warmgrid(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``warmgrid`` in `folder`, which holds made.py."""
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_the_command_line_works_with_a_bucket(bucket: str, sweep_file: Path) -> None:
    """Everything that a user does with a store must take its URL where it takes a path."""
    folder = sweep_file.parent
    at = ("--store", bucket)

    planned = warmgrid("plan", "made.py", *at, "--json", folder=folder)
    launched = warmgrid("launch", "made.py", *at, "--backend", "inprocess", folder=folder)
    status = warmgrid("status", "made", *at, "--json", folder=folder)
    queried = warmgrid("query", "SELECT count(*) AS n FROM results", *at, "--format", "json", folder=folder)

    ended = [(ran.returncode, ran.stderr if ran.returncode else "") for ran in (planned, launched, status, queried)]
    assert ended == [(0, "")] * 4
    assert json.loads(status.stdout)["store"] == bucket
    assert json.loads(status.stdout)["counts"] == {"done": 10}
    assert json.loads(queried.stdout) == [{"n": 8}]
    assert sorted(path.name for path in folder.iterdir()) == ["made.py"]


def test_a_store_that_nobody_serves_is_one_line_and_code_2(bucket: str, sweep_file: Path) -> None:
    """A mistyped endpoint must not look like a hanging program, or like an empty store."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        ran = warmgrid("launch", "made.py", "--store", bucket, "--backend", "inprocess", folder=sweep_file.parent)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"cannot read {bucket}" in ran.stderr
    assert f"http://127.0.0.1:{port}, asked 4 times in" in ran.stderr
    assert "Traceback" not in ran.stderr

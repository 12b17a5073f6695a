"""The agent as a Pod runs it: one file, a bare Python, an order, and a Service on loopback."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from kbalance.analysis.account import Account
from kbalance.kube.convert import facts
from kbalance.model.plan import Options
from kbalance.model.record import GaveUp, Record
from kbalance.model.target import Target
from kbalance.model.words import Profile, Spread, TargetKind
from kbalance.testbed.cluster import Cluster
from kbalance.vantage.bundle import bundle
from kbalance.vantage.lines import Reader
from kbalance.vantage.order import Order, pack, unpack

OPTIONS = Options(rate=None, profiles=(Profile.SINGLE, Profile.SHORT_LIVED), seed=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start("default") as started:
        yield started


def order(cluster: Cluster, options: Options = OPTIONS, workers: int = 1) -> Order:
    address = cluster.service
    target = Target(
        kind=TargetKind.SERVICE,
        scheme="http",
        host=address.ip,
        port=address.port,
        path="/",
        path_given=False,
        namespace="shop",
        name="web",
    )
    return Order(target=target, facts=facts(*cluster.objects()), options=options, workers=workers)


def run(tmp_path: Path, given: Order, environment: Mapping[str, str] | None = None) -> tuple[list[Record], str]:
    """What it told, and all that it wrote."""
    folder, secrets = tmp_path / "order", tmp_path / "secrets"
    public, secret = pack(given)
    for place, files in ((folder, {"order.json": public, "agent.pyz": bundle()}), (secrets, secret)):
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", str(folder / "agent.pyz"), str(folder), str(secrets)],
        env=dict(environment or {}),
        capture_output=True,
        timeout=60,
        check=True,
    )
    reader = Reader()
    records = [record for line in done.stdout.splitlines() if (record := reader.feed(line)) is not None]
    assert list(reader.noise) == []
    return records, (done.stdout + done.stderr).decode()


def test_it_measures_without_any_installed_package(cluster: Cluster, tmp_path: Path) -> None:
    given = order(cluster)

    records, _ = run(tmp_path, given, {"NODE_NAME": "node-a", "POD_IP": "198.51.100.9"})

    account = Account(given.facts, given.options)
    for record in records:
        account.add(record)
    single, fresh = account.settle()
    assert not account.partial
    assert account.vantage is not None
    assert (account.vantage.node, account.vantage.address) == ("node-a", "198.51.100.9")
    assert (single.spread, single.requests.answered) == (Spread.PINNED, 100)
    assert fresh.evidence.enough
    assert fresh.unidentified == 0


def test_what_may_be_secret_is_sent_but_never_told(cluster: Cluster, tmp_path: Path) -> None:
    given = order(cluster, replace(OPTIONS, headers=(("Authorization", "Bearer s3cr3t"),), body=b"p4ssw0rd", method="POST"))
    public, secret = pack(given)

    records, said = run(tmp_path, given)

    assert unpack(public, secret) == given
    assert b"s3cr3t" not in public
    assert records[-1].__class__.__name__ == "Ended"
    assert "s3cr3t" not in said
    assert "p4ssw0rd" not in said


def test_workers_share_rate_and_limits(cluster: Cluster, tmp_path: Path) -> None:
    given = order(cluster, replace(OPTIONS, requests=100, early_stop=False), workers=4)

    records, _ = run(tmp_path, given, {"JOB_COMPLETION_INDEX": "3"})

    account = Account(given.facts, given.options)
    for record in records:
        account.add(record)
    assert [p.requests.sent for p in account.settle()] == [25, 25]


def test_a_reason_not_to_measure_is_told_in_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    given = order(cluster)
    lost = replace(given, target=replace(given.target, host="no-such-name.invalid"))

    records, _ = run(tmp_path, lost)

    assert isinstance(records[-1], GaveUp)
    assert records[-1].kind == "DiscoveryError"
    assert "no-such-name.invalid" in records[-1].message


def test_an_old_python_is_told_from_a_broken_agent() -> None:
    """The first lines run on any Python 3; what they print is a record."""
    main = zipfile.ZipFile(BytesIO(bundle())).read("__main__.py").decode()
    pretended = main.replace("sys.version_info < (3, 11)", "True").replace("sys.version_info[:2]", "(3, 9)")

    said = subprocess.run([sys.executable, "-I", "-c", pretended], capture_output=True, check=True, timeout=60).stdout

    record = Reader().feed(said)
    assert isinstance(record, GaveUp)
    assert "Python 3.9" in record.message


def test_the_same_sources_make_the_same_file_which_fits_a_config_map() -> None:
    made = bundle()

    assert made == bundle()
    assert len(made) < 512 * 1024


def test_the_agent_leaves_everything_at_home_that_it_does_not_run() -> None:
    names = zipfile.ZipFile(BytesIO(bundle())).namelist()

    assert not [name for name in names if name.split("/")[1:2] in (["cli"], ["render"], ["kube"], ["testbed"])]


def test_the_agent_brings_all_that_it_imports(tmp_path: Path) -> None:
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(bundle())
    carried = [name for name in zipfile.ZipFile(archive).namelist() if name.endswith(".py") and not name.endswith("__.py")]
    modules = [name.removesuffix(".py").replace("/", ".") for name in carried]
    every = (
        f"import importlib, sys; sys.path.insert(0, {str(archive)!r}); [importlib.import_module(name) for name in {modules!r}]"
    )

    done = subprocess.run([sys.executable, "-I", "-S", "-c", every], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "kbalance.wire.tls" in modules


def test_an_order_is_plain_json(cluster: Cluster) -> None:
    public, secret = pack(order(cluster))

    assert isinstance(json.loads(public), list)
    assert secret == {}

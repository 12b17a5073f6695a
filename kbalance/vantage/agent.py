"""The worker in a Pod: reads its order, measures its share, and tells it in lines on stdout."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kbalance.analysis import planning
from kbalance.analysis.account import Account
from kbalance.errors import DiscoveryError, KbalanceError
from kbalance.model.record import Calibrated, GaveUp, Progressed, Record, Started
from kbalance.model.report import Vantage
from kbalance.model.target import Address, Target, is_ip
from kbalance.traffic.resolve import resolve
from kbalance.traffic.session import Session
from kbalance.vantage.lines import Writer
from kbalance.vantage.measuring import Measuring, Task
from kbalance.vantage.order import CACERT, CERT, KEY, Order, unpack
from kbalance.vantage.watching import LookUp
from kbalance.wire.dialled import Tls

_Write = Callable[[Record], None]

PROGRESS_S = 0.25
"""Between two words on progress; a log is no terminal."""


def main(folder: str, secrets: str) -> None:
    """Measures as the order in `folder` says; errors that are no bug are told too, and the Pod then still ends well."""
    writer = Writer(sys.stdout.write)

    def write(record: Record) -> None:
        writer.tell(record)
        sys.stdout.flush()

    here = Started(vantage=Vantage(kind="job", node=os.environ.get("NODE_NAME"), address=os.environ.get("POD_IP")))
    write(here)
    held = {path.name: path.read_bytes() for path in Path(secrets).glob("*") if path.is_file()}
    try:
        _measure(unpack((Path(folder) / "order.json").read_bytes(), held), secrets, held, here, write)
    except KbalanceError as error:
        write(GaveUp(kind=type(error).__name__, message=str(error)))


def _measure(order: Order, secrets: str, held: dict[str, bytes], here: Started, write: _Write) -> None:
    worker = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    options = planning.share(order.options, order.workers, worker)
    session = Session(
        timeout_s=options.timeout_s,
        deadline_s=options.deadline_s,
        max_connections=options.max_connections,
        seed=options.seed,
        tls=_tls(order, secrets, held),
    )
    # As process 1 of its Pod, it would not hear of SIGTERM at all without a handler.
    signal.signal(signal.SIGTERM, lambda number, frame: session.interrupt())
    account = Account(order.facts, options, order.zones)
    account.add(here)
    due_s = 0.0

    def tell(record: Record) -> None:
        nonlocal due_s
        if isinstance(record, Progressed):
            if session.elapsed_s < due_s:
                return
            due_s = session.elapsed_s + PROGRESS_S
        account.add(record)
        write(_discreet(record))

    addresses = resolve(order.target.host, order.target.port, options.timeout_s)
    task = Task(target=order.target, addresses=addresses, facts=order.facts, options=options)
    Measuring(task, session, tell, lambda: account.certain, _look_up(order.target, options.timeout_s)).run()


def _look_up(target: Target, timeout_s: float) -> LookUp | None:
    """DNS tells the endpoints of a headless Service alone."""
    if is_ip(target.host):
        return None

    def look_up() -> tuple[tuple[str, Address], ...]:
        try:
            return tuple((str(address), address) for address in resolve(target.host, target.port, timeout_s))
        except DiscoveryError:
            return ()

    return look_up


def _discreet(record: Record) -> Record:
    """The record without the user's headers and body: logs are read by many."""
    if not isinstance(record, Calibrated):
        return record
    request = replace(record.plan.request, headers=(), body=b"")
    return replace(record, plan=replace(record.plan, request=request))


def _tls(order: Order, secrets: str, held: dict[str, bytes]) -> Tls | None:
    if order.tls_name is None:
        return None
    from kbalance.wire.tls import make_tls

    paths = {name: os.path.join(secrets, name) if name in held else None for name in (CACERT, CERT, KEY)}
    return make_tls(order.tls_name, insecure=order.insecure, cacert=paths[CACERT], cert=paths[CERT], key=paths[KEY])

"""From a subject to an exit code: the measurement with its progress and Ctrl-C, and the report where it was wanted."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import click

from kbalance.cli.exits import Exit
from kbalance.model.words import OutputFormat
from kbalance.model.words import Protocol as Spoken

if TYPE_CHECKING:
    from kbalance.model.plan import Options
    from kbalance.model.report import Report
    from kbalance.pipeline import Subject
    from kbalance.render import Style
    from kbalance.wire.dialled import Tls


class Wanted(NamedTuple):
    """Where the report goes."""

    reports: Sequence[tuple[str, str | None]]
    """Formats, each with a file or ``None`` for standard output."""
    artifacts: str | None = None
    """The folder for the texts of recommendations."""


class Stoppable(Protocol):
    """What Ctrl-C ends."""

    interrupted: bool

    def interrupt(self) -> None: ...


def run(subject: Subject, options: Options, tls: Tls | None, wanted: Wanted) -> int:
    """Measures from here, writes the reports, and gives the exit code."""
    check_outputs(wanted)
    from kbalance.pipeline import measure
    from kbalance.traffic.session import Session

    session = Session(
        timeout_s=options.timeout_s,
        deadline_s=options.deadline_s,
        max_connections=options.max_connections,
        seed=options.seed,
        tls=tls,
    )
    return reported(session, lambda tell: measure(subject, options, session, tell), wanted)


def reported(
    stoppable: Stoppable,
    make: Callable[[Callable[[str, int, int], None]], Report],
    wanted: Wanted,
) -> int:
    """Makes the report with progress and Ctrl-C, writes it, and gives the exit code."""
    from time import monotonic

    from kbalance.analysis.identity import contradicts, help_page
    from kbalance.errors import KbalanceError
    from kbalance.render.progress import Progress

    gc.freeze()
    gc.enable()
    live = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
    with _interruptible(stoppable), Progress(sys.stderr, enabled=live, clock=monotonic) as progress:
        try:
            report = make(lambda what, done, planned: progress.update(what, done, planned, ""))
        except KbalanceError as error:
            if not stoppable.interrupted:
                raise
            progress.clear()
            click.echo(f"kbalance: {error}", err=True)
            return Exit.INTERRUPTED
    wrong_list = any(map(contradicts, report.identity.rejected))
    if report.identity.source is None and any(p.unidentified for p in report.profiles) and not wrong_list:
        click.echo(help_page(report.identity.rejected, report.target, grpc=report.protocol is Spoken.GRPC), err=True)
    if wanted.artifacts is not None:
        _write_artifacts(report, wanted.artifacts)
    for name, file in wanted.reports or [(OutputFormat.TEXT.value, None)]:
        _write(report, OutputFormat(name), file)
    return Exit.INTERRUPTED if stoppable.interrupted else exit_code(report)


def check_outputs(wanted: Wanted) -> None:
    """Tells before any traffic what would spoil a report after it.

    Raises:
        TargetError: two reports for one place, or a file or folder that cannot be written.
    """
    from kbalance.errors import TargetError

    if wanted.artifacts is not None:
        try:
            os.makedirs(wanted.artifacts, exist_ok=True)
        except OSError as error:
            raise TargetError(f"The artifacts cannot be written to {wanted.artifacts}: {error.strerror}.") from error
    files = [file for _, file in wanted.reports]
    places = [file and os.path.realpath(file) for file in files]
    for file, place in zip(files, places, strict=True):
        where = "standard output" if file is None else file
        if places.count(place) > 1:
            raise TargetError(f"Two reports cannot go to {where}; give one of them a file, as in -o json=FILE.")
        if file is not None and (os.path.isdir(file) or not os.access(os.path.dirname(file) or ".", os.W_OK)):
            raise TargetError(f"The report cannot be written to {where}: no such folder, or not writable.")


def exit_code(report: Report) -> int:
    """What the report means for a script."""
    from kbalance.analysis.outcome import measured, missed, unaccepted

    if not measured(report):
        return Exit.NOT_MEASURED
    return Exit.FINDINGS if unaccepted(report) or missed(report) else Exit.OK


@contextmanager
def _interruptible(stoppable: Stoppable) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the traffic and lets the report be made; the second quits; later ones change nothing,
    so that what was made in a cluster is taken away in any case."""
    pressed = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            stoppable.interrupt()
            click.echo("\nStopping; the report of what was measured follows. Press Ctrl-C again to quit at once.", err=True)
        elif pressed == 2:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(report: Report, format: OutputFormat, file: str | None) -> None:
    from kbalance.render import render

    write(render(report, format, style=style_for(file)), file)


def write(text: str, file: str | None) -> None:
    """Puts a report where it was wanted; ``None``: standard output.

    Raises:
        TrafficError: it cannot be written there.
    """
    from kbalance.errors import TrafficError

    try:
        if file is not None:
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
        elif sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the report has read enough of it, as `| head` does; Python would complain again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if file is None and sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise TrafficError(f"The report cannot be written to {file or 'standard output'}: {error.strerror}.") from error


def _write_artifacts(report: Report, folder: str) -> None:
    """A folder for each recommendation, a file for each of its texts; names are kbalance's own."""
    from kbalance.errors import TrafficError

    try:
        for one in report.recommendations:
            for artifact in one.artifacts:
                os.makedirs(os.path.join(folder, one.id), exist_ok=True)
                with open(os.path.join(folder, one.id, artifact.name), "w", encoding="utf-8") as stream:
                    stream.write(artifact.content)
    except OSError as error:
        raise TrafficError(f"The artifacts cannot be written to {folder}: {error.strerror}.") from error


def style_for(file: str | None) -> Style:
    """What the place that a report goes to can show; ``None``: standard output."""
    from kbalance.render import Style

    to_terminal = file is None
    terminal = to_terminal and is_terminal(sys.stdout)
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    unicode = not to_terminal or (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return Style(colour=colour, width=os.get_terminal_size(sys.stdout.fileno()).columns if terminal else 100, unicode=unicode)


def is_terminal(stream: object) -> bool:
    """Whether somebody looks at it; ``None``, which stands for a closed stream, is none."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())

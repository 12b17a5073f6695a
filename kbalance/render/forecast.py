"""What luck would make of the user's number of clients, as a table."""

from kbalance.model.report import Forecast, Report
from kbalance.render import Style
from kbalance.render.distribution import factor
from kbalance.render.terminal import counted, heading, numbers


def forecast(report: Report, style: Style) -> list[str]:
    """A row per change of numbers; nothing where the report foretells nothing."""
    if not report.forecasts:
        return []
    rows = [["", "clients", "conns", "endpoints", "busiest", "idle"], *map(_row, report.forecasts)]
    return [heading(_title(report.forecasts[0]), style), *numbers(rows)]


def _title(now: Forecast) -> str:
    each = counted(now.connections, "connection")
    held = f"With {counted(now.clients, 'client')} of {each}" + (" each" if now.clients > 1 else "")
    return f"{held}, if each connection is a fair draw"


def _row(one: Forecast) -> list[str]:
    held = one.clients * one.connections
    return [
        one.what,
        f"{one.clients:,}",
        f"{held:,}",
        f"{one.endpoints:,}",
        factor(one.expected_busiest),
        f"{one.expected_idle:.1f}",
    ]

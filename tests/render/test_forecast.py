from collections.abc import Mapping
from dataclasses import replace

from kbalance.model.report import Report
from kbalance.model.words import OutputFormat
from kbalance.render import Style, render
from kbalance.render.forecast import forecast


def test_numbers_of_clients_and_pods_are_a_small_table(samples: Mapping[str, Report], style: Style) -> None:
    assert forecast(samples["many-clients"], style) == [
        "With 20 clients of 10 connections each, if each connection is a fair draw",
        "                clients   conns  endpoints  busiest  idle",
        "  now                20     200          3    1.10x   0.0",
        "  scaled out         20     200          6    1.22x   0.0",
        "  merged             20     200          2    1.06x   0.0",
        "  more clients    2,000  20,000          3    1.01x   0.0",
    ]


def test_one_client_has_its_connections_to_itself(samples: Mapping[str, Report], style: Style) -> None:
    report = samples["many-clients"]
    one = replace(report, forecasts=(replace(report.forecasts[0], clients=1, connections=1),))

    assert forecast(one, style)[0] == "With 1 client of 1 connection, if each connection is a fair draw"


def test_it_stands_behind_the_fixes_and_only_where_something_is_foretold(
    samples: Mapping[str, Report], classic: Report, style: Style
) -> None:
    text = render(samples["many-clients"], OutputFormat.TEXT, style=style)

    assert text.index("What to change") < text.index("With 20 clients") < text.index("Latency in ms")
    assert "fair draw\n                clients" not in render(classic, OutputFormat.TEXT, style=style)

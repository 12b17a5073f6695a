"""What the README shows is what there is."""

import re
import shlex
from pathlib import Path

import pytest
from click.exceptions import Exit as Exit0

from kbalance.cli import cli
from kbalance.cli.exits import Exit
from kbalance.cli.options import to_options
from kbalance.model.plan import Options
from tests import refresh_readme

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


GRPC = (ROOT / "docs" / "grpc.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every kbalance command line in shell and workflow blocks, in code spans, and in the help pages' examples."""
    text = README + GRPC
    blocks = re.findall(r"```(?:sh|yaml)\n(.*?)```", text.replace("\\\n", " "), re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("kbalance ")]
    spans = [span for span in re.findall(r"`(kbalance [^`]+)`", text) if "CAUSE" not in span]
    pages = [cli.help or "", *(command.help or "" for command in cli.commands.values())]
    joined = "\n".join(pages).replace("\\\n", " ")
    examples = [line.strip().split("   ")[0] for line in joined.splitlines() if line.strip().startswith("kbalance ")]
    return sorted({*lines, *spans, *(" ".join(e.split()) for e in examples)})


def words(report: str) -> list[str]:
    return re.sub(r"[-\d.,:TZ]+", " ", re.sub(r"[█▉▊▋▌▍▎▏·]+", "", report)).split()


@pytest.mark.parametrize("line", commands())
def test_command_is_understood(line: str) -> None:
    """Parsed by the real parser, without being run."""
    name, *arguments = shlex.split(line)[1:]

    if arguments == ["--help"]:
        with pytest.raises(Exit0):
            cli.commands[name].make_context(name, arguments)
    else:
        given = cli.commands[name].make_context(name, arguments).params
        assert given
        # The values of some options are understood only here.
        assert name in ("explain", "diff") or to_options(given)


def test_the_causes_are_those_of_the_rule_table() -> None:
    assert README.split("<!-- causes -->\n")[1].split("<!-- end of causes -->")[0] == refresh_readme.causes()


def test_the_metrics_are_those_of_the_thresholds() -> None:
    page = refresh_readme.THRESHOLDS.read_text(encoding="utf-8")

    assert refresh_readme.thresholds(page) == page
    assert "`p99_ms`" in page


def test_the_exit_codes_are_those_of_the_program() -> None:
    listed = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)

    assert [int(code) for code in listed] == [code.value for code in Exit]


def test_the_defaults_told_are_those_of_the_program() -> None:
    given = cli.commands["probe"].make_context("probe", ["http://web/"]).params

    assert to_options(given | {"seed": 0}) == Options()
    assert f"{Options.__dataclass_fields__['rate'].default:g} requests per second" in README
    assert f"at most {Options.__dataclass_fields__['max_connections'].default} new connections" in README


def test_the_run_shown_is_one_that_this_version_makes() -> None:
    """Word by word; numbers, bars and the order by latency vary with the machine."""
    shown = README.split(refresh_readme.RUN)[1].split("```")[0]

    assert sorted(words(shown)) == sorted(words(refresh_readme.demo()))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []

"""docs/balancing.md: its programs run, and its table names the settings and their defaults."""

import inspect
import re
from pathlib import Path

import httpx
import pytest
import yaml

from kbalance.balancing import AsyncBalancingTransport, BalancingTransport, transports

PAGE = Path(__file__).parent.parent.parent / "docs" / "balancing.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_each_program_runs(program: str) -> None:
    names: dict[str, object] = {}
    exec(compile(program, str(PAGE), "exec"), names)

    for made in names.values():
        if isinstance(made, httpx.Client | BalancingTransport):
            made.close()


def test_the_table_has_every_setting_with_its_default() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- settings -->")[2].partition("<!-- end of settings -->")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))

    for transport in (AsyncBalancingTransport, BalancingTransport):
        defaults = {
            name: "NO_LIMITS" if parameter.default is transports.NO_LIMITS else repr(_plain(parameter.default))
            for name, parameter in inspect.signature(transport).parameters.items()
        }
        assert told == defaults


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def test_the_role_is_as_small_as_the_page_says() -> None:
    role, binding = yaml.safe_load_all((PAGE.parent / "balancing-rbac.yaml").read_text(encoding="utf-8"))

    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["endpointslices"], ["list", "watch"]),
        (["services"], ["get"]),
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]

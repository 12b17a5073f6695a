"""What may be asked, and what is said to a user whose pods do not tell their names."""

import pytest

from kbalance.analysis.identity import Calibration, help_page, parse_spec, paths_to_try
from kbalance.model.target import Target
from kbalance.model.words import TargetKind

NOTHING = Calibration(
    identifier=None,
    source=None,
    calibrated=False,
    reasons=("header Server, header Via, header X-One, header X-Two and 7 more: the same from web-0 and web-1" + " x" * 40,),
)


def target(*, path: str = "/", given: bool = False, kind: TargetKind = TargetKind.SERVICE) -> Target:
    return Target(
        kind=kind,
        scheme="http",
        host="198.18.1.7",
        port=80,
        path=path,
        path_given=given,
        namespace="shop",
        name="web",
    )


def test_only_the_paths_of_well_known_servers_are_tried_after_the_users() -> None:
    assert paths_to_try(target()) == ("/", "/hostname", "/api/info", "/debug")


@pytest.mark.parametrize(("given", "method"), [(True, "GET"), (False, "POST"), (True, "HEAD")])
def test_no_path_is_invented_when_the_user_chose_one_or_another_method(given: bool, method: str) -> None:
    assert paths_to_try(target(path="/cart", given=given), method) == ("/cart",)


def test_path_that_is_on_the_list_is_tried_once() -> None:
    assert paths_to_try(target(path="/debug")) == ("/debug", "/hostname", "/api/info")


@pytest.mark.parametrize("kind", list(TargetKind))
def test_help_names_the_reasons_and_the_way_out_within_100_columns(kind: TargetKind) -> None:
    page = help_page(NOTHING.reasons, target(kind=kind))

    assert all(len(line) <= 100 and line == line.rstrip() for line in page.splitlines())
    for text in ("the same from web-0 and web-1", "fieldPath: metadata.name", "add_header X-Pod-Name $hostname"):
        assert text in page


def test_every_identity_option_in_the_help_is_understood() -> None:
    words = help_page(NOTHING.reasons, target()).split("--identity ")[1:]

    specs = [w.split("'")[1] if w.startswith("'") else w.split()[0] for w in words]

    assert len(specs) == 4
    assert all(parse_spec(spec) for spec in specs)

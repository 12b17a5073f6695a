"""What may turn out to be a call of gRPC, and what to do about TLS that nobody spoke of."""

import pytest

from kbalance.analysis.protocols import called, may_be_grpc, needs_tls
from kbalance.errors import TargetError
from kbalance.model.plan import Options
from kbalance.model.target import Target
from kbalance.model.words import TargetKind
from kbalance.wire.grpc import HEALTH


def url(path: str | None = None, *, port: int = 8443) -> Target:
    given = path is not None
    return Target(kind=TargetKind.URL, scheme="http", host="shop.test", port=port, path=path or "/", path_given=given)


def test_a_target_is_called_by_the_method_that_it_names_else_for_its_health() -> None:
    assert called(url()).path == f"/{HEALTH}"
    assert called(called(url())) == called(url())
    assert called(url("/shop.Cart/Get")) == url("/shop.Cart/Get")
    with pytest.raises(TargetError, match="does not name a gRPC method"):
        called(url("/page"))


@pytest.mark.parametrize(
    ("options", "path", "may"),
    [
        (Options(), None, True),
        (Options(), "/shop.Cart/Get", True),
        (Options(), "/page", False),
        (Options(), "/shop.Cart/Get?id=7", False),
        (Options(method="POST"), None, False),
        (Options(body=b"x"), None, False),
    ],
    ids=["nothing", "a method", "a page", "a query", "another method of HTTP", "a body"],
)
def test_who_asks_for_a_page_makes_no_call(options: Options, path: str | None, may: bool) -> None:
    assert may_be_grpc(options, url(path)) is may


@pytest.mark.parametrize(("port", "place"), [(8443, "shop.test:8443"), (443, "shop.test"), (80, "shop.test:80")])
def test_a_url_is_to_say_that_there_is_tls(port: int, place: str) -> None:
    assert f"was asked without: write https://{place} (with --cacert FILE, or -k" in needs_tls(url("/page", port=port))


def test_the_port_of_a_service_is_to_say_that_there_is_tls() -> None:
    target = Target(
        kind=TargetKind.SERVICE,
        scheme="http",
        host="198.51.100.9",
        port=9000,
        path="/",
        path_given=False,
        namespace="shop",
        name="cart",
    )
    assert needs_tls(target) == (
        "svc/cart:9000 in namespace shop speaks TLS, and its port does not say so: give the port appProtocol https, or grpcs for"
        " gRPC, or probe https://198.51.100.9:9000 where the cluster can be reached (with --cacert FILE, or -k, where the"
        " certificate is of no public authority)."
    )

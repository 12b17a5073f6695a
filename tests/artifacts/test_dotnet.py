"""The texts for .NET, which no compiler reads here: their names are those of the reference documentation.

Looked up: SocketsHttpHandler.PooledConnectionLifetime, HttpClient, Random.Shared and TimeSpan in the .NET API reference;
GrpcChannel, GrpcChannelOptions, ServiceConfig, RoundRobinConfig and DnsResolverFactory in grpc-dotnet's sources and in the guide
to its client-side load balancing; Kestrel's connection middleware (ConfigureKestrel, ConfigureEndpointDefaults,
ListenOptions.Use) in its guide, and that IConnectionLifetimeNotificationFeature.RequestClose sends GOAWAY over HTTP/2 in
dotnet/aspnetcore#18893.
"""

import re

import pytest

from kbalance.analysis.artifacts import FIXES, artifacts
from tests.artifacts.conftest import text
from tests.artifacts.settings import WEB

LOOKED_UP = {
    "KestrelMaxAge.cs": {
        *("System", "System.Threading", "Microsoft.AspNetCore.Builder", "Microsoft.AspNetCore.Connections.Features"),
        *("Microsoft.AspNetCore.Hosting", "WebApplication.CreateBuilder", "IConnectionLifetimeNotificationFeature"),
        *("TimeSpan.FromSeconds", "Random.Shared.NextDouble", "Timer", "Timeout.InfiniteTimeSpan"),
    },
    "PooledLifetime.cs": {
        *("System", "System.Net.Http"),
        *("Random.Shared.NextDouble", "SocketsHttpHandler", "PooledConnectionLifetime", "TimeSpan.FromSeconds"),
        *("HttpClient", "BaseAddress", "Uri"),
    },
    "RoundRobin.cs": {
        *("System", "Grpc.Core", "Grpc.Net.Client", "Grpc.Net.Client.Balancer", "Grpc.Net.Client.Configuration"),
        *("Microsoft.Extensions.DependencyInjection", "ServiceCollection", "ResolverFactory", "DnsResolverFactory"),
        *("TimeSpan.FromSeconds", "GrpcChannel.ForAddress", "GrpcChannelOptions", "Credentials", "ChannelCredentials.Insecure"),
        *("ServiceConfig", "LoadBalancingConfigs", "RoundRobinConfig", "ServiceProvider"),
    },
}
"""Every name of a library that a text uses; one that is not here has to be looked up first."""


def test_every_text_is_looked_up() -> None:
    assert {one.name for fix in FIXES for one in artifacts(fix, WEB) if one.name.endswith(".cs")} == set(LOOKED_UP)


@pytest.mark.parametrize(
    ("fix", "name"),
    [
        ("shorter-lifetime", "PooledLifetime.cs"),
        ("shorter-lifetime", "KestrelMaxAge.cs"),
        ("client-side-balancing", "RoundRobin.cs"),
    ],
)
def test_a_text_uses_only_names_that_were_looked_up(fix: str, name: str) -> None:
    code = re.sub(r'"[^"]*"|//.*', "", text(fix, name, WEB))

    used = set(re.findall(r"(?<![.\w])[A-Z]\w*(?:\.[A-Z]\w*)*", code))

    assert used == LOOKED_UP[name]

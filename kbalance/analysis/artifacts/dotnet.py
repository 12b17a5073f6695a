"""Clients and servers on .NET."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, quoted, share, told
from kbalance.model.report import Artifact


def pooled_lifetime(setting: Setting) -> Artifact:
    """`SocketsHttpHandler` ends connections by itself."""
    content = fill(
        _LIFETIME,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=f"{setting.lifetime_s:g}",
        jitter=f"{setting.jitter:g}",
        url=quoted(setting.url),
    )
    return Artifact(name="PooledLifetime.cs", kind="dotnet", content=content)


def kestrel_max_age(setting: Setting) -> Artifact:
    """Kestrel has no greatest age of connections, but a connection's middleware may ask for its end."""
    content = fill(
        _MAX_AGE,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=f"{setting.lifetime_s:g}",
        jitter=f"{setting.jitter:g}",
    )
    return Artifact(name="KestrelMaxAge.cs", kind="dotnet", content=content)


_LIFETIME = """\
// Ends each pooled connection at an age of {{told}}, so that a Service's endpoints are drawn anew; not while it is in use.
// The age varies by {{share}} between processes, so that clients started together do not move together.
using System;
using System.Net.Http;

double lifetime = {{lifetime}} * (1 + {{jitter}} * (2 * Random.Shared.NextDouble() - 1));
var handler = new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromSeconds(lifetime) };
var client = new HttpClient(handler) { BaseAddress = new Uri({{url}}) };
"""

_MAX_AGE = """\
// Has Kestrel end each connection at an age of {{told}}, give or take {{share}}, so that clients connect anew: with GOAWAY over
// HTTP/2 and gRPC, with Connection: close over HTTP/1.1; requests under way finish. Kestrel itself knows no greatest age
// (Limits.KeepAliveTimeout ends idle connections, Http2.KeepAlivePingDelay finds dead ones). Needs ASP.NET Core 5 or later.
using System;
using System.Threading;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;

var builder = WebApplication.CreateBuilder(args);
builder.WebHost.ConfigureKestrel(server => server.ConfigureEndpointDefaults(listen => listen.Use(next => async connection =>
{
    var ending = connection.Features.Get<IConnectionLifetimeNotificationFeature>();
    var age = TimeSpan.FromSeconds({{lifetime}} * (1 + {{jitter}} * (2 * Random.Shared.NextDouble() - 1)));
    using var timer = new Timer(_ => ending?.RequestClose(), null, age, Timeout.InfiniteTimeSpan);
    await next(connection);
})));
"""

"""Clients on .NET."""

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


_LIFETIME = """\
// Ends each pooled connection at an age of {{told}}, so that a Service's endpoints are drawn anew; not while it is in use.
// The age varies by {{share}} between processes, so that clients started together do not move together.
using System;
using System.Net.Http;

double lifetime = {{lifetime}} * (1 + {{jitter}} * (2 * Random.Shared.NextDouble() - 1));
var handler = new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromSeconds(lifetime) };
var client = new HttpClient(handler) { BaseAddress = new Uri({{url}}) };
"""

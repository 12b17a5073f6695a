"""gRPC: clients that take endpoints in turn, and servers that end connections."""

from kbalance.analysis.artifacts.setting import Setting, bracketed
from kbalance.analysis.artifacts.text import fill, milliseconds, plain, quoted, span, told
from kbalance.model.report import Artifact

GRACE_S = 30
"""How long calls under way may go on when a server ends a connection."""


def go_round_robin(setting: Setting) -> Artifact | None:
    """grpc-go."""
    return _client(setting, "round_robin.go", "grpc-go", _GO_CLIENT)


def java_round_robin(setting: Setting) -> Artifact | None:
    """grpc-java."""
    return _client(setting, "RoundRobinChannel.java", "grpc-java", _JAVA_CLIENT)


def python_round_robin(setting: Setting) -> Artifact | None:
    """grpcio."""
    return _client(setting, "round_robin.py", "grpc-python", _PYTHON_CLIENT)


def node_round_robin(setting: Setting) -> Artifact | None:
    """@grpc/grpc-js."""
    return _client(setting, "round_robin.js", "grpc-node", _NODE_CLIENT)


def dotnet_round_robin(setting: Setting) -> Artifact | None:
    """Grpc.Net.Client."""
    return _client(setting, "RoundRobin.cs", "grpc-dotnet", _DOTNET_CLIENT)


def go_max_age(setting: Setting) -> Artifact | None:
    """grpc-go's server."""
    return _server(setting, "max_age.go", "grpc-go", _GO_SERVER)


def java_max_age(setting: Setting) -> Artifact | None:
    """grpc-java's server."""
    return _server(setting, "MaxAgeServer.java", "grpc-java", _JAVA_SERVER)


def python_max_age(setting: Setting) -> Artifact | None:
    """grpcio's server."""
    return _server(setting, "max_age.py", "grpc-python", _PYTHON_SERVER)


def node_max_age(setting: Setting) -> Artifact | None:
    """@grpc/grpc-js's server."""
    return _server(setting, "max_age.js", "grpc-node", _NODE_SERVER)


def xds_bootstrap(setting: Setting) -> Artifact | None:
    """What gRPC's own clients need to be told the endpoints by a control plane."""
    if setting.grpc is False or setting.namespace is None:
        return None
    content = fill(_XDS, target=f"xds:///{setting.host}:{setting.port}", namespace=plain(setting.namespace))
    return Artifact(name="xds-bootstrap.sh", kind="grpc", content=content)


def go_pod_name(setting: Setting) -> Artifact | None:
    """grpc-go's server says who it is."""
    return None if setting.grpc is False else Artifact(name="pod_name_grpc.go", kind="grpc-go", content=_GO_POD_NAME)


def python_pod_name(setting: Setting) -> Artifact | None:
    """grpcio's server says who it is."""
    return None if setting.grpc is False else Artifact(name="pod_name_grpc.py", kind="grpc-python", content=_PYTHON_POD_NAME)


def _client(setting: Setting, name: str, kind: str, template: str) -> Artifact | None:
    if setting.grpc is False:
        return None
    secure = setting.scheme == "https"
    content = fill(
        template,
        target=quoted(f"dns:///{bracketed(setting.endpoints_host)}:{setting.dialled}"),
        # Certificates are for the name that clients know, not for the one that leads to the endpoints.
        authority=quoted(setting.authority),
        refresh=f"{setting.refresh_s:g}",
        **{word: text[secure] for word, text in _CREDENTIALS.items()},
    )
    return Artifact(name=name, kind=kind, content=content)


def _server(setting: Setting, name: str, kind: str, template: str) -> Artifact | None:
    if setting.grpc is False:
        return None
    content = fill(
        template,
        told=told(setting.lifetime_s),
        grace=GRACE_S,
        go_age=span(setting.lifetime_s, "{} * time.Second", "{} * time.Millisecond"),
        age_ms=milliseconds(setting.lifetime_s),
        grace_ms=milliseconds(GRACE_S),
        port=setting.dialled,
    )
    return Artifact(name=name, kind=kind, content=content)


_CREDENTIALS = {
    "go_import": ("google.golang.org/grpc/credentials/insecure", "google.golang.org/grpc/credentials"),
    "go_credentials": ("insecure.NewCredentials()", "credentials.NewTLS(nil)"),
    "java_security": ("usePlaintext()", "useTransportSecurity()"),
    "python_channel": (
        "insecure_channel(TARGET, options=OPTIONS)",
        "secure_channel(TARGET, grpc.ssl_channel_credentials(), OPTIONS)",
    ),
    "node_credentials": ("createInsecure()", "createSsl()"),
    "dotnet_credentials": ("ChannelCredentials.Insecure", "ChannelCredentials.SecureSsl"),
}
"""By scheme: http, https."""

_GO_CLIENT = """\
// Package balanced makes gRPC clients that take the endpoints in turn, each call the next one; by default the first endpoint
// that answers gets all. grpc-go looks the name up again when a connection ends, so servers should end them (MaxConnectionAge):
// otherwise new Pods are not noticed.
package balanced

import (
	"google.golang.org/grpc"
	"{{go_import}}"
)

// Dial needs the headless name: the Service's own has one address.
func Dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(
		{{target}},
		grpc.WithTransportCredentials({{go_credentials}}),
		grpc.WithAuthority({{authority}}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	)
}
"""

_JAVA_CLIENT = """\
// Makes gRPC channels that take the endpoints in turn, each call the next one; by default the first endpoint that answers gets
// all. grpc-java looks the name up again when a connection ends, and the JVM remembers answers for 30 s
// (networkaddress.cache.ttl).
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;

final class RoundRobinChannel {
    /** Needs the headless name: the Service's own has one address. */
    static ManagedChannel open() {
        return ManagedChannelBuilder.forTarget({{target}})
            .defaultLoadBalancingPolicy("round_robin")
            .overrideAuthority({{authority}})
            .{{java_security}}
            .build();
    }
}
"""

_PYTHON_CLIENT = """\
# A gRPC channel that takes the endpoints in turn, each call the next one; by default the first endpoint that answers gets all.
# The name is looked up again when a connection ends, and at most every {{refresh}} s.
import grpc

# The headless name: the Service's own has one address.
TARGET = {{target}}
OPTIONS = [
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.default_authority", {{authority}}),
    ("grpc.dns_min_time_between_resolutions_ms", int({{refresh}} * 1000)),
]

channel = grpc.{{python_channel}}
"""

_NODE_CLIENT = """\
// Options of gRPC clients that take the endpoints in turn, each call the next one; by default the first endpoint that answers
// gets all. The name is looked up again when a connection ends, and at most every {{refresh}} s.
//
//     const client = new Greeter(target, credentials, options)
const grpc = require('@grpc/grpc-js')

// The headless name: the Service's own has one address.
const target = {{target}}
const credentials = grpc.credentials.{{node_credentials}}
const options = {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.default_authority': {{authority}},
  'grpc.dns_min_time_between_resolutions_ms': {{refresh}} * 1000
}

module.exports = { target, credentials, options }
"""

_DOTNET_CLIENT = """\
// A gRPC channel that takes the endpoints in turn, each call the next one; by default the first endpoint that answers gets all.
// The name is looked up again every {{refresh}} s. Needs Grpc.Net.Client 2.45 or later.
using System;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Net.Client.Balancer;
using Grpc.Net.Client.Configuration;
using Microsoft.Extensions.DependencyInjection;

var services = new ServiceCollection();
services.AddSingleton<ResolverFactory>(new DnsResolverFactory(refreshInterval: TimeSpan.FromSeconds({{refresh}})));

// The headless name: the Service's own has one address. With TLS, certificates must be for it as well.
var channel = GrpcChannel.ForAddress({{target}}, new GrpcChannelOptions
{
    Credentials = {{dotnet_credentials}},
    ServiceConfig = new ServiceConfig { LoadBalancingConfigs = { new RoundRobinConfig() } },
    ServiceProvider = services.BuildServiceProvider(),
});
"""

_GO_SERVER = """\
// Package aging makes gRPC servers that end each connection at an age of {{told}}, so that clients look the endpoints up and
// connect anew. gRPC itself varies the age by 10 %. Calls under way may go on for {{grace}} s.
package aging

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// NewServer takes further options.
func NewServer(options ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge:      {{go_age}},
		MaxConnectionAgeGrace: {{grace}} * time.Second,
	}))...)
}
"""

_JAVA_SERVER = """\
// Makes gRPC servers that end each connection at an age of {{told}}, so that clients look the endpoints up and connect anew.
// gRPC itself varies the age by 10 %. Calls under way may go on for {{grace}} s. Needs grpc-java 1.48 or later.
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.ServerBuilder;
import java.util.concurrent.TimeUnit;

final class MaxAgeServer {
    static ServerBuilder<?> builder() {
        return Grpc.newServerBuilderForPort({{port}}, InsecureServerCredentials.create())
            .maxConnectionAge({{age_ms}}, TimeUnit.MILLISECONDS)
            .maxConnectionAgeGrace({{grace}}, TimeUnit.SECONDS);
    }
}
"""

_GO_POD_NAME = """\
// Package named makes gRPC servers say in the metadata of every answer which Pod gave it. POD_NAME comes from the Downward API.
//
//	grpc.NewServer(grpc.ChainUnaryInterceptor(named.Unary))
package named

import (
	"context"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

var pod = metadata.Pairs("x-pod-name", os.Getenv("POD_NAME"))

// Unary goes into the server's options; what the handler itself sets stays.
func Unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := grpc.SetHeader(ctx, pod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}
"""

_PYTHON_POD_NAME = """\
# Makes a gRPC server say in the trailers of every unary answer which Pod gave it. POD_NAME comes from the Downward API.
#
#     server = grpc.server(ThreadPoolExecutor(), interceptors=[PodName()])
import os

import grpc

POD = ("x-pod-name", os.environ["POD_NAME"])


class PodName(grpc.ServerInterceptor):
    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        def named(request, context):
            try:
                return handler.unary_unary(request, context)
            finally:
                context.set_trailing_metadata((*(context.trailing_metadata() or ()), POD))

        return grpc.unary_unary_rpc_method_handler(named, handler.request_deserializer, handler.response_serializer)
"""

_PYTHON_SERVER = """\
# A gRPC server that ends each connection at an age of {{told}}, so that clients look the endpoints up and connect anew.
# gRPC itself varies the age by 10 %. Calls under way may go on for {{grace}} s.
from concurrent.futures import ThreadPoolExecutor

import grpc

OPTIONS = [
    ("grpc.max_connection_age_ms", {{age_ms}}),
    ("grpc.max_connection_age_grace_ms", {{grace_ms}}),
]

server = grpc.server(ThreadPoolExecutor(), options=OPTIONS)
"""

_NODE_SERVER = """\
// Options of gRPC servers that end each connection at an age of {{told}}, so that clients look the endpoints up and connect anew.
// gRPC itself varies the age by 10 %. Calls under way may go on for {{grace}} s. Needs @grpc/grpc-js 1.7 or later.
//
//     const server = new grpc.Server(options)
const options = {
  'grpc.max_connection_age_ms': {{age_ms}},
  'grpc.max_connection_age_grace_ms': {{grace_ms}}
}

module.exports = { options }
"""

_XDS = """\
# Writes the file by which a gRPC client finds its control plane, and says where it is. With it the target is
# {{target}} and calls are shared out as the control plane says, without a proxy.
# A control plane must be there that knows the Service, and speaks xDS to gRPC. Istio's does, and writes such a file by itself
# for Pods with the annotation inject.istio.io/templates: grpc-agent. In Go, import _ "google.golang.org/grpc/xds"; in Java, add
# grpc-xds; C++ and Python have it built in; Node needs @grpc/grpc-js-xds.
cat > xds-bootstrap.json <<END
{
  "xds_servers": [
    {
      "server_uri": "${XDS_SERVER:?HOST:PORT of the control plane}",
      "channel_creds": [{"type": "insecure"}],
      "server_features": ["xds_v3"]
    }
  ],
  "node": {"id": "${XDS_NODE:?the name by which the control plane knows this client}", "metadata": {"NAMESPACE": "{{namespace}}"}}
}
END
export GRPC_XDS_BOOTSTRAP="$PWD/xds-bootstrap.json"
"""

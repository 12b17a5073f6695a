"""Clients in Java, on java.net.http and on Apache HttpClient."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, milliseconds, plain, quoted, share, told
from kbalance.model.report import Artifact


def balancing_client(setting: Setting) -> Artifact | None:
    """A connection to each endpoint, the next one for each request; `java.net.http` cannot do it with TLS."""
    if setting.scheme == "https":
        return None
    content = fill(
        _BALANCING,
        service=plain(setting.service),
        host=quoted(setting.endpoints_host),
        port=setting.dialled,
        refresh_ms=milliseconds(setting.refresh_s),
        refresh_told=told(setting.refresh_s),
        url=setting.url,
    )
    return Artifact(name="BalancingClient.java", kind="java", content=content)


def retiring_client(setting: Setting) -> Artifact:
    """`HttpClient` has no greatest age of connections, so it is replaced."""
    content = fill(
        _RETIRING,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime_ms=milliseconds(setting.lifetime_s),
        jitter=f"{setting.jitter:g}",
    )
    return Artifact(name="RetiringClient.java", kind="java", content=content)


def apache_lifetime(setting: Setting) -> Artifact:
    """Apache HttpClient 5 ends connections by itself."""
    content = fill(
        _APACHE,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime_ms=milliseconds(setting.lifetime_s),
        jitter=f"{setting.jitter:g}",
        connections=setting.connections,
    )
    return Artifact(name="ApacheLifetime.java", kind="java", content=content)


def clients_in_turn(setting: Setting) -> Artifact:
    """`HttpClient` takes any idle connection; several of them take turns."""
    content = fill(_IN_TURN, connections=setting.connections)
    return Artifact(name="ClientsInTurn.java", kind="java", content=content)


_BALANCING = """\
// Keeps a connection to each endpoint of {{service}} and takes the next one for each request; the Host header stays.
// It looks the endpoints up every {{refresh_told}}, and at once when one cannot be reached. Needs Java 17, nothing else.
// For https take another client: java.net.http compares the certificate with the address.
//
//     var client = new BalancingClient();
//     client.send(HttpRequest.newBuilder(URI.create("{{url}}/")).build(), BodyHandlers.ofString());
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public class BalancingClient {
    static final String HOST = {{host}};
    static final int PORT = {{port}};
    static final long REFRESH_NS = {{refresh_ms}} * 1_000_000L;

    static {
        // The client may set the Host header, or it would be the endpoint's address. Must happen before the first HttpClient.
        System.setProperty("jdk.httpclient.allowRestrictedHeaders", "host");
        // The JVM would remember a lookup for 30 s.
        java.security.Security.setProperty("networkaddress.cache.ttl", "1");
    }

    private final HttpClient client = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1)
        .connectTimeout(Duration.ofSeconds(3))
        .build();
    private List<String> addresses = List.of();
    private final Map<String, Long> avoidedUntil = new HashMap<>();
    private long asked;
    private int next;

    public <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> handler)
            throws IOException, InterruptedException {
        for (int attempt = 1; ; attempt++) {
            String address = choose();
            try {
                return client.send(to(address, request), handler);
            } catch (ConnectException | HttpConnectTimeoutException error) {
                // Nothing was sent yet, so another endpoint may have the request.
                unreachable(address);
                if (attempt == 3) {
                    throw error;
                }
            }
        }
    }

    /** The endpoints' addresses; put a watch of EndpointSlices here to know of changes at once. */
    protected List<String> resolve() throws UnknownHostException {
        return Arrays.stream(InetAddress.getAllByName(HOST)).map(InetAddress::getHostAddress).toList();
    }

    /** The next endpoint that can be reached, or just the next one where none can. */
    private synchronized String choose() throws UnknownHostException {
        long now = System.nanoTime();
        if (addresses.isEmpty() || now - asked >= REFRESH_NS) {
            refresh(now);
        }
        for (int i = 0; i < addresses.size(); i++) {
            String address = turn();
            if (now - avoidedUntil.getOrDefault(address, now) >= 0) {
                return address;
            }
        }
        return turn();
    }

    private String turn() {
        next = (next + 1) % addresses.size();
        return addresses.get(next);
    }

    private void refresh(long now) throws UnknownHostException {
        asked = now;
        try {
            addresses = resolve();
        } catch (UnknownHostException error) {
            if (addresses.isEmpty()) {
                throw error;
            }
            System.getLogger("balancing").log(System.Logger.Level.WARNING, "the endpoints known so far stay", error);
        }
        if (addresses.isEmpty()) {
            throw new UnknownHostException(HOST + " has no endpoints");
        }
        avoidedUntil.keySet().retainAll(addresses);
    }

    private synchronized void unreachable(String address) {
        avoidedUntil.put(address, System.nanoTime() + REFRESH_NS);
        asked = System.nanoTime() - REFRESH_NS;
    }

    private static HttpRequest to(String address, HttpRequest request) {
        URI old = request.uri();
        String host = address.contains(":") ? "[" + address + "]" : address;
        String path = old.getRawPath().isEmpty() ? "/" : old.getRawPath();
        String query = old.getRawQuery() == null ? "" : "?" + old.getRawQuery();
        URI uri = URI.create("http://" + host + ":" + PORT + path + query);
        return HttpRequest.newBuilder(request, (name, value) -> true).uri(uri).setHeader("Host", old.getRawAuthority()).build();
    }
}
"""

_RETIRING = """\
// Ends a client's connections at an age of {{told}}, give or take {{share}}, so that a Service's endpoints are drawn anew;
// HttpClient itself knows no greatest age. Requests under way finish on the old connections. All connections of one client
// are replaced together; the jitter keeps clients apart. Before Java 21 old connections stay open while they are idle, until
// jdk.httpclient.keepalive.timeout, 20 minutes by default: set it to 30 (seconds).
//
//     var client = new RetiringClient(() -> HttpClient.newHttpClient());
//     client.send(request, BodyHandlers.ofString());
import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;

public class RetiringClient {
    static final long LIFETIME_NS = {{lifetime_ms}} * 1_000_000L;
    static final double JITTER = {{jitter}};

    /** A client, how many requests are under way on it, and whether it gets no more. */
    private static final class Held {
        final HttpClient client;
        int busy;
        boolean retired;

        Held(HttpClient client) {
            this.client = client;
        }
    }

    private final Supplier<HttpClient> make;
    private Held current;
    private long until;

    public RetiringClient(Supplier<HttpClient> make) {
        this.make = make;
    }

    public <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> handler)
            throws IOException, InterruptedException {
        Held held = enter();
        try {
            return held.client.send(request, handler);
        } finally {
            leave(held);
        }
    }

    public <T> CompletableFuture<HttpResponse<T>> sendAsync(HttpRequest request, HttpResponse.BodyHandler<T> handler) {
        Held held = enter();
        return held.client.sendAsync(request, handler).whenComplete((response, error) -> leave(held));
    }

    private synchronized Held enter() {
        long now = System.nanoTime();
        if (current == null || now - until >= 0) {
            if (current != null) {
                current.retired = true;
                closeIfLast(current);
            }
            current = new Held(make.get());
            until = now + (long) (LIFETIME_NS * (1 + JITTER * (2 * ThreadLocalRandom.current().nextDouble() - 1)));
        }
        current.busy++;
        return current;
    }

    private synchronized void leave(Held held) {
        held.busy--;
        closeIfLast(held);
    }

    /** Since Java 21 a client can be closed, which waits for bodies being read; before, it ends when nobody holds it. */
    private static void closeIfLast(Held held) {
        if (held.retired && held.busy == 0 && (Object) held.client instanceof AutoCloseable closeable) {
            Thread closing = new Thread(() -> {
                try {
                    closeable.close();
                } catch (Exception error) {
                    System.getLogger("retiring").log(System.Logger.Level.WARNING, "an old client did not close", error);
                }
            }, "closes an HttpClient");
            closing.setDaemon(true);
            closing.start();
        }
    }
}
"""

_APACHE = """\
// Apache HttpClient 5.2 or later ends connections by itself at an age of {{told}}, so that a Service's endpoints are drawn
// anew; not while one is in use. The age varies by {{share}} between processes, so that they do not move together.
import java.util.concurrent.ThreadLocalRandom;
import org.apache.hc.client5.http.config.ConnectionConfig;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder;
import org.apache.hc.core5.util.TimeValue;

final class ApacheLifetime {
    static CloseableHttpClient client() {
        double jittered = {{lifetime_ms}} * (1 + {{jitter}} * (2 * ThreadLocalRandom.current().nextDouble() - 1));
        ConnectionConfig config = ConnectionConfig.custom().setTimeToLive(TimeValue.ofMilliseconds((long) jittered)).build();
        return HttpClients.custom()
            .setConnectionManager(PoolingHttpClientConnectionManagerBuilder.create()
                .setDefaultConnectionConfig(config)
                .setMaxConnPerRoute({{connections}})
                .build())
            .build();
    }
}
"""

_IN_TURN = """\
// Has {{connections}} clients take turns, each with a connection of its own: one HttpClient would take an idle connection
// again and again. Each connection is still drawn once: it stays on its endpoint.
//
//     var clients = new ClientsInTurn();
//     clients.next().send(request, handler);
import java.net.http.HttpClient;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;

public class ClientsInTurn {
    static final int CONNECTIONS = {{connections}};

    private final List<HttpClient> clients = Stream.generate(HttpClient::newHttpClient).limit(CONNECTIONS).toList();
    private final AtomicInteger turn = new AtomicInteger();

    /** Ask for each request; do not keep it. */
    public HttpClient next() {
        return clients.get(Math.floorMod(turn.getAndIncrement(), CONNECTIONS));
    }
}
"""

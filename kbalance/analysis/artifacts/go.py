"""Clients in Go, on net/http alone."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, quoted, share, span, told
from kbalance.model.report import Artifact


def balancing_transport(setting: Setting) -> Artifact:
    """A connection to each endpoint, the next one for each request."""
    content = fill(
        _BALANCING,
        service=plain(setting.service),
        host=quoted(setting.endpoints_host),
        port=quoted(str(setting.dialled)),
        refresh=_duration(setting.refresh_s),
        refresh_told=told(setting.refresh_s),
        url=setting.url,
        h2c=_h2c(setting, "transport", "\t"),
    )
    return Artifact(name="balancing_transport.go", kind="go", content=content)


def retiring_transport(setting: Setting) -> Artifact:
    """`http.Transport` has no greatest age, so it is replaced."""
    content = fill(
        _RETIRING,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=_duration(setting.lifetime_s),
        jitter=f"{setting.jitter:g}",
        h2c=_h2c(setting, "one", "\t"),
    )
    return Artifact(name="retiring_transport.go", kind="go", content=content)


def transports_in_turn(setting: Setting) -> Artifact:
    """`http.Transport` takes the idle connection that was used last; several of them take turns."""
    content = fill(_IN_TURN, connections=setting.connections, h2c=_h2c(setting, "one", "\t\t"))
    return Artifact(name="transports_in_turn.go", kind="go", content=content)


def pod_name_header(setting: Setting) -> Artifact:
    """Middleware."""
    return Artifact(name="pod_name_header.go", kind="go", content=_POD_NAME)


def _h2c(setting: Setting, transport: str, indent: str) -> str:
    """Lines that have a transport speak HTTP/2 without TLS, where nothing else is known to be answered."""
    if not setting.h2c:
        return ""
    lines = (
        "// HTTP/2 from the first byte, as nobody agrees on it without TLS; needs Go 1.24.",
        f"{transport}.Protocols = new(http.Protocols)",
        f"{transport}.Protocols.SetUnencryptedHTTP2(true)",
    )
    return "".join(f"{indent}{line}\n" for line in lines)


def _duration(seconds: float) -> str:
    return span(seconds, "{} * time.Second", "{} * time.Millisecond")


_BALANCING = """\
// Package balancing keeps a connection to each endpoint of {{service}} and takes the next one for each request.
// It looks the endpoints up every {{refresh_told}}, and at once when one cannot be reached. URL, Host header and the name in
// the server's certificate stay as they are:
//
//	client := &http.Client{Transport: balancing.New()}
//	client.Get("{{url}}/")
package balancing

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport sends every request to the one Service, whatever its URL says.
type Transport struct {
	Host, Port string
	Refresh    time.Duration
	// Resolve gives the endpoints' addresses; put a watch of EndpointSlices here to know of changes at once.
	Resolve func(ctx context.Context, host string) ([]string, error)

	mu        sync.Mutex
	endpoints []*endpoint
	next      int
	asked     time.Time
}

type endpoint struct {
	address   string
	transport *http.Transport
	// avoid is when it may be tried again.
	avoid time.Time
}

// New looks up the headless name.
func New() *Transport {
	return &Transport{Host: {{host}}, Port: {{port}}, Refresh: {{refresh}}, Resolve: net.DefaultResolver.LookupHost}
}

func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		chosen, err := t.choose(request.Context())
		if err != nil {
			if request.Body != nil {
				request.Body.Close()
			}
			return nil, err
		}
		response, err := chosen.transport.RoundTrip(request)
		var failed *net.OpError
		if err == nil || !errors.As(err, &failed) || failed.Op != "dial" {
			return response, err
		}
		// Nothing was sent yet, so another endpoint may have the request, if there still is its body.
		t.unreachable(chosen)
		if attempt == 3 || request.Context().Err() != nil || (request.Body != nil && request.GetBody == nil) {
			return nil, err
		}
		request = request.Clone(request.Context())
		if request.GetBody != nil {
			if request.Body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// choose takes the next endpoint that can be reached, or just the next one where none can.
func (t *Transport) choose(ctx context.Context) (*endpoint, error) {
	now := time.Now()
	t.mu.Lock()
	due, none := now.Sub(t.asked) >= t.Refresh, len(t.endpoints) == 0
	if due || none {
		t.asked = now
	}
	t.mu.Unlock()
	if none {
		if err := t.refresh(ctx); err != nil {
			return nil, err
		}
	} else if due {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := t.refresh(ctx); err != nil {
				log.Printf("%v; the endpoints known so far stay", err)
			}
		}()
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	for range t.endpoints {
		if chosen := t.turn(); now.After(chosen.avoid) {
			return chosen, nil
		}
	}
	return t.turn(), nil
}

func (t *Transport) turn() *endpoint {
	t.next = (t.next + 1) % len(t.endpoints)
	return t.endpoints[t.next]
}

// unreachable avoids an endpoint for a while and has the endpoints looked up by the next request.
func (t *Transport) unreachable(failed *endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed.avoid = time.Now().Add(t.Refresh)
	t.asked = time.Time{}
}

// refresh keeps the connections of endpoints that stay.
func (t *Transport) refresh(ctx context.Context) error {
	addresses, err := t.Resolve(ctx, t.Host)
	if err != nil {
		return err
	}
	if len(addresses) == 0 {
		return fmt.Errorf("%s has no endpoints", t.Host)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	known := map[string]*endpoint{}
	for _, one := range t.endpoints {
		known[one.address] = one
	}
	var endpoints []*endpoint
	for _, address := range addresses {
		one := known[address]
		if one == nil {
			one = t.open(address)
		}
		delete(known, address)
		endpoints = append(endpoints, one)
	}
	for _, gone := range known {
		gone.transport.CloseIdleConnections()
	}
	t.endpoints = endpoints
	return nil
}

func (t *Transport) open(address string) *endpoint {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	target := net.JoinHostPort(address, t.Port)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
{{h2c}}	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, target)
	}
	return &endpoint{address: address, transport: transport}
}
"""

_RETIRING = """\
// Package retiring ends a client's connections at an age of {{told}}, give or take {{share}}, so that a Service's endpoints
// are drawn anew; http.Transport itself knows no greatest age. Requests under way finish on the old connections.
// All connections of one client are replaced together; the jitter keeps clients apart.
//
//	client := &http.Client{Transport: retiring.New()}
package retiring

import (
	"math/rand"
	"net/http"
	"sync"
	"time"
)

// Transport replaces its http.Transport at a jittered age.
type Transport struct {
	Lifetime time.Duration
	// Jitter is the share by which the lifetime varies.
	Jitter float64
	Make   func() *http.Transport

	mu      sync.Mutex
	current *http.Transport
	until   time.Time
}

// New begins with http.DefaultTransport's settings.
func New() *Transport {
	return &Transport{
		Lifetime: {{lifetime}},
		Jitter:   {{jitter}},
		Make:     fresh,
	}
}

func fresh() *http.Transport {
	one := http.DefaultTransport.(*http.Transport).Clone()
{{h2c}}	return one
}

func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	return t.present().RoundTrip(request)
}

func (t *Transport) present() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.current != nil && now.Before(t.until) {
		return t.current
	}
	if old := t.current; old != nil {
		// Connections in use end when they become idle; the second call is for those taken at this very moment.
		old.CloseIdleConnections()
		time.AfterFunc(time.Minute, old.CloseIdleConnections)
	}
	t.current = t.Make()
	t.until = now.Add(time.Duration(float64(t.Lifetime) * (1 + t.Jitter*(2*rand.Float64()-1))))
	return t.current
}
"""

_IN_TURN = """\
// Package inturn has {{connections}} connections take turns. http.Transport takes the idle connection that was used last, so
// that a pool with little to do sends everything over one. Each connection is still drawn once: it stays on its endpoint.
//
//	client := &http.Client{Transport: inturn.New()}
package inturn

import (
	"net/http"
	"sync/atomic"
)

// Transport hands each request to the next of its transports; requests at once beyond their number open more connections.
type Transport struct {
	transports []*http.Transport
	next       atomic.Uint64
}

// New takes http.DefaultTransport's settings.
func New() *Transport {
	t := &Transport{}
	for range {{connections}} {
		one := http.DefaultTransport.(*http.Transport).Clone()
{{h2c}}		// HTTP/1.1 or 2, a transport keeps one connection; without this an idle one would be closed after 90 s.
		one.IdleConnTimeout = 0
		one.MaxIdleConnsPerHost = 1
		t.transports = append(t.transports, one)
	}
	return t
}

func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	turn := t.next.Add(1) % uint64(len(t.transports))
	return t.transports[turn].RoundTrip(request)
}
"""

_POD_NAME = """\
// Package podname says with every answer which Pod gave it; the variable comes from container-env.yaml.
//
//	http.ListenAndServe(":8080", podname.Header(mux))
package podname

import (
	"net/http"
	"os"
)

// Header adds X-Pod-Name.
func Header(next http.Handler) http.Handler {
	name := os.Getenv("POD_NAME")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pod-Name", name)
		next.ServeHTTP(w, r)
	})
}
"""

"""HTTP/2 with servers that others wrote, over real sockets: Node (nghttp2), Go, nginx."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kbalance.model.words import Failure
from kbalance.wire.http2_events import GoingAway, Lost
from kbalance.wire.tls import make_tls
from tests.artifacts.conftest import run, tool
from tests.wire.certificates import Certificates
from tests.wire.http2_talk import PATIENCE_S, Answer, Talk

NODE = """
const http2 = require('node:http2')
const fs = require('node:fs')
const [cert, key] = process.argv.slice(2)
// By default Node refuses streams while 10 MB are waiting to be read.
const options = { settings: { maxConcurrentStreams: 60 }, maxSessionMemory: 100 }
const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), ...options })
  : http2.createServer(options)
const waiting = []
const ok = (stream, body = 'hello') => { stream.respond({ ':status': 200, 'x-pod-name': 'pod-1' }); stream.end(body) }
const paths = {
  '/': stream => ok(stream),
  '/large': stream => ok(stream, Buffer.alloc(300000, 'x')),
  '/echo': stream => { stream.respond({ ':status': 200 }); stream.pipe(stream) },
  '/none': stream => stream.respond({ ':status': 204 }, { endStream: true }),
  '/length': stream => stream.respond({ ':status': 200, 'content-length': 5 }, { endStream: true }),
  '/hints': stream => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' })
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end('hinted')
  },
  '/refuse': stream => stream.close(7),
  '/fail': stream => { stream.respond({ ':status': 200 }); stream.write('x', () => stream.destroy(new Error('broken'))) },
  '/early': stream => { stream.respond({ ':status': 413 }); stream.end('too much') },
  '/ping': stream => stream.session.ping(Buffer.from('12345678'), (error, took, data) => ok(stream, String(error || data))),
  '/shrink': stream => stream.session.settings({ initialWindowSize: 100, maxConcurrentStreams: 2 }, () => ok(stream)),
  '/wait': stream => waiting.push(stream),
  '/goaway': stream => {
    stream.session.goaway(0, stream.id, Buffer.from('bye'))
    setImmediate(() => { for (const one of [stream, ...waiting]) ok(one) })
  },
  '/close': stream => { stream.session.close(); setImmediate(() => ok(stream)) },
  '/destroy': stream => stream.session.destroy(),
}
server.on('stream', (stream, headers) => {
  stream.on('error', () => {})
  paths[headers[':path']](stream)
})
server.on('session', session => session.on('error', () => {}))
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit()).resume()
"""

GO = """package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols}
	release := make(chan struct{})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	http.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Header().Set("Trailer", "X-Checksum")
		fmt.Fprint(w, "waited")
		w.Header().Set("X-Checksum", "1")
	})
	http.HandleFunc("/shutdown", func(w http.ResponseWriter, r *http.Request) {
		server.RegisterOnShutdown(func() { close(release) })
		go server.Shutdown(context.Background())
		<-release
		fmt.Fprint(w, "last words")
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server.Serve(listener)
	select {}
}
"""

NGINX = """
daemon off;
pid nginx.pid;
error_log stderr error;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:PORT http2;
    keepalive_requests 10;
    location / { return 200 "nginx"; }
  }
}
"""


@contextmanager
def program(*command: str | Path) -> Iterator[int]:
    """Runs a server that prints its port; it leaves when its input ends."""
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline())
        finally:
            running.stdin.close()
            running.wait(PATIENCE_S)


@contextmanager
def connected(port: int) -> Iterator[Talk]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        yield Talk(sock)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    main = tmp_path_factory.mktemp("node") / "main.js"
    main.write_text(NODE)
    with program(tool("node"), main) as port:
        yield port


@pytest.fixture
def talk(node: int) -> Iterator[Talk]:
    with connected(node) as talk:
        yield talk


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, built."""
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO)
    (folder / "go.mod").write_text("module server.test\n\ngo 1.24\n")
    run(tool("go"), "build", "-o", "server", ".", cwd=folder)
    return folder / "server"


def bodies(answers: list[Answer]) -> list[bytes]:
    """Of complete answers."""
    assert [answer.broken for answer in answers if not answer.ended] == []
    return [answer.body for answer in answers]


def test_many_streams_with_more_than_their_windows(talk: Talk) -> None:
    answers = [talk.ask("/large") for _ in range(50)]
    talk.finish()
    assert set(bodies(answers)) == {b"x" * 300_000}

    more = [talk.ask("/large") for _ in range(talk.connection.room)]
    talk.finish()
    assert len(bodies(more)) == 60
    assert more[-1].heads[0].fields[0] == (b"x-pod-name", b"pod-1")


def test_node_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    cert, key = certificates.server_files("web.test", tmp_path)
    main = tmp_path / "main.js"
    main.write_text(NODE)
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2", "http/1.1"))
    with (
        program(tool("node"), main, cert, key) as port,
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        tls.context.wrap_socket(plain, server_hostname=tls.name) as sock,
    ):
        talk = Talk(sock, b"https")
        answers = [talk.ask("/"), talk.ask("/large"), talk.ask("/echo", "POST", b"y" * 200_000)]
        talk.finish()

        assert sock.selected_alpn_protocol() == "h2"
        assert bodies(answers) == [b"hello", b"x" * 300_000, b"y" * 200_000]


def test_bodies_go_both_ways_at_once(talk: Talk) -> None:
    contents = [bytes([number]) * 1_000_000 for number in range(3)]

    answers = [talk.ask("/echo", "POST", content) for content in contents]
    talk.finish()

    assert bodies(answers) == contents


def test_heads_before_the_head_and_trailers_after_the_body(talk: Talk) -> None:
    answer = talk.ask("/hints")
    talk.finish()

    assert [head.status for head in answer.heads] == [103, 200]
    assert (answer.body, answer.trailers) == (b"hinted", {b"grpc-status": b"0"})


def test_answers_without_a_body(talk: Talk) -> None:
    answers = [talk.ask("/none"), talk.ask("/length", "HEAD"), talk.ask("/", "HEAD")]
    talk.finish()

    assert [(answer.status, answer.ended, answer.body) for answer in answers] == [(204, True, b""), *[(200, True, b"")] * 2]


def test_a_refused_stream_may_be_asked_again_and_a_failed_one_not(talk: Talk) -> None:
    refused, failed, good = talk.ask("/refuse"), talk.ask("/fail"), talk.ask("/")
    talk.finish()

    assert refused.broken is not None
    assert failed.broken is not None
    assert (refused.broken.failure, refused.broken.unprocessed) == (Failure.RESET, True)
    assert (failed.broken.failure, failed.broken.unprocessed) == (Failure.RESET, False)
    assert good.ended


def test_an_answer_before_the_body_has_gone_out(talk: Talk) -> None:
    early = talk.ask("/early", "POST", bytes(5_000_000))
    talk.finish()
    after = talk.ask("/")
    talk.finish()

    assert (early.status, early.body, early.ended) == (413, b"too much", True)
    assert after.ended


def test_pings_and_lowered_limits(talk: Talk) -> None:
    answers = [talk.ask("/ping"), talk.ask("/shrink")]
    talk.finish()
    room = talk.connection.room
    answers.append(talk.ask("/echo", "POST", bytes(1000)))
    talk.finish()

    assert bodies(answers) == [b"12345678", b"hello", bytes(1000)]
    assert room == 2


def test_a_cancelled_stream_leaves_the_others_alone(talk: Talk) -> None:
    talk.ask("/large")
    talk.turn()
    talk.connection.reset(1)
    others = [talk.ask("/large") for _ in range(5)]
    talk.finish()

    assert set(bodies(others)) == {b"x" * 300_000}


def test_a_server_that_goes_away_first_and_answers_then(talk: Talk) -> None:
    waiting, going, late = talk.ask("/wait"), talk.ask("/goaway"), talk.ask("/")
    talk.finish()

    assert talk.farewells == [GoingAway(3, 0, "the server goes away: NO_ERROR, 'bye'")]
    assert bodies([waiting, going]) == [b"hello", b"hello"]
    assert late.broken is not None
    assert late.broken.unprocessed


def test_a_session_that_closes_gracefully(talk: Talk) -> None:
    answer = talk.ask("/close")
    talk.until_closed()

    assert bodies([answer]) == [b"hello"]
    assert isinstance(talk.farewells[0], GoingAway)
    assert isinstance(talk.farewells[-1], Lost)


def test_a_session_that_is_torn_down(talk: Talk) -> None:
    answer = talk.ask("/destroy")
    talk.until_closed()

    assert answer.broken is not None
    assert not answer.broken.unprocessed


def test_gos_shutdown_finishes_what_is_under_way(go: Path) -> None:
    """It sends GOAWAY with the highest number, and with the true one later."""
    with program(go) as port, connected(port) as talk:
        answers = [talk.ask("/wait"), talk.ask("/echo", "POST", b"z" * 500_000), talk.ask("/shutdown")]
        talk.until_closed()

        assert bodies(answers) == [b"waited", b"z" * 500_000, b"last words"]
        assert answers[0].trailers == {b"x-checksum": b"1"}
        assert [type(farewell) for farewell in talk.farewells[:-1]] in ([GoingAway], [GoingAway] * 2)


@contextmanager
def nginx(folder: Path, settings: str = NGINX) -> Iterator[Talk]:
    """It inherits a socket that listens already, so nobody waits for it; an nginx that is updated hands them on like this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (folder / "nginx.conf").write_text(settings.replace("PORT", str(port)))
        command = (tool("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"))
        with subprocess.Popen(
            command,
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        ) as running:
            try:
                with connected(port) as talk:
                    yield talk
            finally:
                running.terminate()
                running.wait(PATIENCE_S)


def test_nginx_that_takes_ten_requests_on_a_connection(tmp_path: Path) -> None:
    with nginx(tmp_path) as talk:
        answers = [talk.ask("/") for _ in range(16)]
        talk.until_closed()

    assert set(bodies(answers[:10])) == {b"nginx"}
    assert [answer.broken.unprocessed for answer in answers[10:] if answer.broken is not None] == [True] * 6


def test_a_server_of_http_1_is_told_at_once(tmp_path: Path) -> None:
    with nginx(tmp_path, NGINX.replace(" http2;", ";")) as talk:
        answer = talk.ask("/")
        talk.finish()

    assert answer.broken is not None
    assert answer.broken.detail.startswith("not HTTP/2: 'HTTP/1.1 400 Bad Request")

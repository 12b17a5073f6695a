"""Go's net/http without TLS: HTTP/2 with prior knowledge, of the standard library alone (1.24 or newer)."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address
from tests.artifacts.conftest import run, tool

from .running import printing, room

_MAIN = """package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

func main() {
	name := flag.String("name", "", "in body and header")
	ip := flag.String("ip", "", "to listen at")
	streams := flag.Int("streams", 0, "of a connection; 0: Go's own limit")
	flag.Parse()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: *streams}}
	release, waits := make(chan struct{}), make(chan struct{}, 1000)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pod-Name", *name)
		fmt.Fprint(w, *name)
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	http.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		waits <- struct{}{}
		<-release
		w.Header().Set("Trailer", "X-Checksum")
		fmt.Fprint(w, "waited")
		w.Header().Set("X-Checksum", "1")
	})
	http.HandleFunc("/shutdown", func(w http.ResponseWriter, r *http.Request) {
		waiting, _ := strconv.Atoi(r.URL.Query().Get("waiting"))
		for range waiting {
			<-waits
		}
		server.RegisterOnShutdown(func() { close(release) })
		go server.Shutdown(context.Background())
		<-release
		fmt.Fprint(w, "last words")
	})
	listener, err := net.Listen("tcp", *ip+":0")
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


@functools.cache
def _built() -> Path:
    """The server, built once a session."""
    folder = Path(tempfile.mkdtemp(prefix="kbalance-go-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "main.go").write_text(_MAIN)
    (folder / "go.mod").write_text("module server.test\n\ngo 1.24\n")
    run(tool("go"), "build", "-o", "server", ".", cwd=folder)
    return folder / "server"


@contextmanager
def go(folder: Path, *, name: str = "pod-1", ip: str = "127.0.0.1", max_streams: int = 0) -> Iterator[Address]:
    """Answers with the name, in a header too.

    ``/echo`` gives back the body; ``/shutdown?waiting=N`` stops the server gracefully once N requests wait at ``/wait``, and
    these are answered then, with a trailer. 0 streams stand for Go's own limit, 250.
    """
    command: list[str | Path] = [_built(), "-name", name, "-ip", ip, "-streams", str(max_streams)]
    with printing(command, room(folder, "go")) as port:
        yield Address(ip, port)

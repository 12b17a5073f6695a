"""Node's http2, which is nghttp2 underneath."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address
from tests.artifacts.conftest import tool

from .running import printing, room

_MAIN = """
const http2 = require('node:http2')
const fs = require('node:fs')
const [name, ip, streams, cert, key] = process.argv.slice(2)
// By default Node refuses streams while 10 MB are waiting to be read.
const options = { settings: { maxConcurrentStreams: Number(streams) }, maxSessionMemory: 100 }
const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), ...options })
  : http2.createServer(options)
const waiting = []
const ok = (stream, body = name) => { stream.respond({ ':status': 200, 'x-pod-name': name }); stream.end(body) }
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
  const answer = paths[headers[':path']] ?? paths['/']
  answer(stream)
})
server.on('session', session => session.on('error', () => {}))
server.listen(0, ip, () => console.log(server.address().port))
process.stdin.on('end', () => process.exit()).resume()
"""


@contextmanager
def node(
    folder: Path,
    *,
    name: str = "pod-1",
    ip: str = "127.0.0.1",
    max_streams: int = 60,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Address]:
    """Answers with the name, in a header too; paths of its own do what the script above says.

    With a certificate and its key it speaks TLS.
    """
    home = room(folder, "node")
    (home / "main.js").write_text(_MAIN)
    command = [tool("node"), home / "main.js", name, ip, str(max_streams), *(certificate or ())]
    with printing(command, home) as port:
        yield Address(ip, port)

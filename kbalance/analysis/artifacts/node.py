"""Clients in Node, on its own http and on undici."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, milliseconds, plain, quoted, share, told
from kbalance.model.report import Artifact


def balancing_client(setting: Setting) -> Artifact:
    """A connection to each endpoint, the next one for each request."""
    content = fill(
        _BALANCING,
        service=plain(setting.service),
        scheme=setting.scheme,
        host=quoted(setting.endpoints_host),
        port=setting.dialled,
        name=quoted(setting.authority),
        server_name=quoted(setting.host),
        refresh_ms=milliseconds(setting.refresh_s),
        refresh_told=told(setting.refresh_s),
    )
    return Artifact(name="balancing.js", kind="node", content=content)


def balancing_http2(setting: Setting) -> Artifact | None:
    """The same over HTTP/2, for which Node has an interface of its own."""
    if not setting.http2:
        return None
    secure = setting.scheme == "https"
    content = fill(
        _BALANCING_HTTP2,
        service=plain(setting.service),
        scheme=setting.scheme,
        host=quoted(setting.endpoints_host),
        port=setting.dialled,
        name=quoted(setting.authority),
        tls=f", {{ servername: {quoted(setting.host)} }}" if secure else "",
        refresh_ms=milliseconds(setting.refresh_s),
        refresh_told=told(setting.refresh_s),
    )
    return Artifact(name="balancing_http2.js", kind="node", content=content)


def retiring_agent(setting: Setting) -> Artifact:
    """`http.Agent` has no greatest age of connections, so it is replaced."""
    content = fill(
        _RETIRING,
        scheme=setting.scheme,
        url=setting.url,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime_ms=milliseconds(setting.lifetime_s),
        jitter=f"{setting.jitter:g}",
    )
    return Artifact(name="retiring_agent.js", kind="node", content=content)


def undici_lifetime(setting: Setting) -> Artifact:
    """undici's own setting."""
    content = fill(
        _UNDICI_LIFETIME,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime_ms=milliseconds(setting.lifetime_s),
        jitter=f"{setting.jitter:g}",
        connections=setting.connections,
    )
    return Artifact(name="undici_lifetime.js", kind="node", content=content)


def agents_in_turn(setting: Setting) -> Artifact:
    """An agent a connection, each in its turn."""
    content = fill(_IN_TURN, scheme=setting.scheme, url=setting.url, connections=setting.connections)
    return Artifact(name="agents_in_turn.js", kind="node", content=content)


def undici_in_turn(setting: Setting) -> Artifact:
    """undici's own pool."""
    content = fill(_UNDICI_IN_TURN, origin=quoted(setting.url), url=setting.url, connections=setting.connections)
    return Artifact(name="undici_in_turn.js", kind="node", content=content)


def pod_name_header(setting: Setting) -> Artifact:
    """A line of the server."""
    return Artifact(name="pod_name_header.js", kind="node", content=_POD_NAME)


_BALANCING = """\
// Keeps a connection to each endpoint of {{service}} and takes the next one for each request; the Host header stays.
// It looks the endpoints up every {{refresh_told}}, and at once when one cannot be reached. Needs nothing but Node.
//
//     const client = new Balancing()
//     const response = await client.request({ method: 'GET', path: '/' })
'use strict'
const { once } = require('node:events')
const dns = require('node:dns/promises')
const http = require('node:{{scheme}}')

const HOST = {{host}}
const PORT = {{port}}
const REFRESH_MS = {{refresh_ms}}

class Balancing {
  #endpoints = []
  #next = 0
  #asked = -Infinity
  #lookup = null

  // Gives the endpoints' addresses; put a watch of EndpointSlices here to know of changes at once.
  constructor (resolve = async () => (await dns.lookup(HOST, { all: true })).map(one => one.address)) {
    this.resolve = resolve
  }

  // The options of http.request, and a body that is a string or a Buffer; gives an http.IncomingMessage.
  async request (options, body) {
    for (let attempt = 1; ; attempt++) {
      const endpoint = await this.#choose()
      const request = http.request({
        ...options,
        agent: endpoint.agent,
        host: endpoint.address,
        port: PORT,
        servername: {{server_name}},
        headers: { host: {{name}}, ...options.headers }
      })
      request.end(body)
      try {
        const [response] = await once(request, 'response')
        return response
      } catch (error) {
        // Where it could not connect nothing was sent, so another endpoint may have the request.
        if (error.syscall !== 'connect') throw error
        endpoint.avoid = Date.now() + REFRESH_MS
        this.#asked = -Infinity
        if (attempt === 3) throw error
      }
    }
  }

  close () {
    for (const endpoint of this.#endpoints) endpoint.agent.destroy()
  }

  // The next endpoint that can be reached, or just the next one where none can.
  async #choose () {
    if (Date.now() - this.#asked >= REFRESH_MS) {
      this.#asked = Date.now()
      this.#lookup = this.#refresh().finally(() => { this.#lookup = null })
    }
    if (this.#lookup) await this.#lookup
    for (let i = 0; i < this.#endpoints.length; i++) {
      const endpoint = this.#turn()
      if (Date.now() >= endpoint.avoid) return endpoint
    }
    return this.#turn()
  }

  #turn () {
    this.#next = (this.#next + 1) % this.#endpoints.length
    return this.#endpoints[this.#next]
  }

  async #refresh () {
    let addresses
    try {
      addresses = await this.resolve()
      if (addresses.length === 0) throw new Error(`${HOST} has no endpoints`)
    } catch (error) {
      if (this.#endpoints.length === 0) {
        this.#asked = -Infinity
        throw error
      }
      console.warn('%s; the endpoints known so far stay', error.message)
      return
    }
    const known = new Map(this.#endpoints.map(one => [one.address, one]))
    this.#endpoints = addresses.map(address => known.get(address) ??
      { address, avoid: 0, agent: new http.Agent({ keepAlive: true }) })
    for (const one of this.#endpoints) known.delete(one.address)
    for (const gone of known.values()) retire(gone.agent)
  }
}

// Requests under way finish; then their connections end.
function retire (agent) {
  agent.keepAlive = false
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of [...sockets]) socket.destroy()
}

module.exports = { Balancing }
"""

_BALANCING_HTTP2 = """\
// Keeps an HTTP/2 connection to each endpoint of {{service}} and takes the next one for each request; :authority stays. It looks
// the endpoints up every {{refresh_told}}, and at once when one cannot be reached. A server may end a connection (GOAWAY): the
// next request opens another one, and those under way finish. Needs nothing but Node.
//
//     const client = new Balancing()
//     const { headers, stream } = await client.request({ ':path': '/' })
'use strict'
const { once } = require('node:events')
const dns = require('node:dns/promises')
const http2 = require('node:http2')

const HOST = {{host}}
const PORT = {{port}}
const REFRESH_MS = {{refresh_ms}}

class Balancing {
  #endpoints = []
  #next = 0
  #asked = -Infinity
  #lookup = null

  // Gives the endpoints' addresses; put a watch of EndpointSlices here to know of changes at once.
  constructor (resolve = async () => (await dns.lookup(HOST, { all: true })).map(one => one.address)) {
    this.resolve = resolve
  }

  // Headers as http2 has them, and a body that is a string or a Buffer; gives the answer's headers, and a stream of its body.
  async request (headers, body) {
    for (let attempt = 1; ; attempt++) {
      const endpoint = await this.#choose()
      let session
      try {
        session = await endpoint.connected()
      } catch (error) {
        // Nothing was sent yet, so another endpoint may have the request.
        endpoint.avoid = Date.now() + REFRESH_MS
        this.#asked = -Infinity
        if (attempt === 3) throw error
        continue
      }
      const stream = session.request({ ':authority': {{name}}, ...headers })
      stream.end(body)
      const [answer] = await once(stream, 'response')
      return { headers: answer, stream }
    }
  }

  close () {
    for (const endpoint of this.#endpoints) endpoint.retire()
  }

  // The next endpoint that can be reached, or just the next one where none can.
  async #choose () {
    if (Date.now() - this.#asked >= REFRESH_MS) {
      this.#asked = Date.now()
      this.#lookup = this.#refresh().finally(() => { this.#lookup = null })
    }
    if (this.#lookup) await this.#lookup
    for (let i = 0; i < this.#endpoints.length; i++) {
      const endpoint = this.#turn()
      if (Date.now() >= endpoint.avoid) return endpoint
    }
    return this.#turn()
  }

  #turn () {
    this.#next = (this.#next + 1) % this.#endpoints.length
    return this.#endpoints[this.#next]
  }

  async #refresh () {
    let addresses
    try {
      addresses = await this.resolve()
      if (addresses.length === 0) throw new Error(`${HOST} has no endpoints`)
    } catch (error) {
      if (this.#endpoints.length === 0) {
        this.#asked = -Infinity
        throw error
      }
      console.warn('%s; the endpoints known so far stay', error.message)
      return
    }
    const known = new Map(this.#endpoints.map(one => [one.address, one]))
    this.#endpoints = addresses.map(address => known.get(address) ?? new Endpoint(address))
    for (const one of this.#endpoints) known.delete(one.address)
    for (const gone of known.values()) gone.retire()
  }
}

class Endpoint {
  #session = null
  avoid = 0

  constructor (address) {
    this.address = address
  }

  // A connection that takes requests; closed and destroyed are those that ended, or that the server sent GOAWAY on.
  async connected () {
    if (!this.#session || this.#session.closed || this.#session.destroyed) {
      const host = this.address.includes(':') ? `[${this.address}]` : this.address
      this.#session = http2.connect(`{{scheme}}://${host}:${PORT}`{{tls}})
      // Who waits hears of it below, and a request by its stream.
      this.#session.on('error', () => {})
    }
    const session = this.#session
    if (session.connecting) await once(session, 'connect')
    return session
  }

  // Requests under way finish.
  retire () {
    if (this.#session) this.#session.close()
  }
}

module.exports = { Balancing }
"""

_RETIRING = """\
// Ends a client's connections at an age of {{told}}, give or take {{share}}, so that a Service's endpoints are drawn anew;
// http.Agent itself knows no greatest age. Requests under way finish on the old connections. All connections of one client
// are replaced together; the jitter keeps clients apart.
//
//     const retiring = new Retiring()
//     http.get('{{url}}/', { agent: retiring.agent() })
'use strict'
const http = require('node:{{scheme}}')

const LIFETIME_MS = {{lifetime_ms}}
const JITTER = {{jitter}}

class Retiring {
  #current = null
  #until = 0

  constructor (options = {}) {
    this.options = options
  }

  // Ask for each request; do not keep it.
  agent () {
    const now = performance.now()
    if (this.#current === null || now >= this.#until) {
      if (this.#current !== null) retire(this.#current)
      this.#current = new http.Agent({ ...this.options, keepAlive: true })
      this.#until = now + LIFETIME_MS * (1 + JITTER * (2 * Math.random() - 1))
    }
    return this.#current
  }
}

// Without keepAlive a connection ends when its request does; the idle ones end now.
function retire (agent) {
  agent.keepAlive = false
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of [...sockets]) socket.destroy()
}

module.exports = { Retiring }
"""

_UNDICI_LIFETIME = """\
// Has undici, which is under fetch, end connections at an age of {{told}}, so that a Service's endpoints are drawn anew. It looks
// when a request comes, and requests under way finish. The age varies by {{share}} between processes, so that they do not move
// together. fetch of Node 20 or later uses it. Needs undici 7.
'use strict'
const { Agent, setGlobalDispatcher } = require('undici')

const clientTtl = {{lifetime_ms}} * (1 + {{jitter}} * (2 * Math.random() - 1))
setGlobalDispatcher(new Agent({ clientTtl, connections: {{connections}} }))
"""

_IN_TURN = """\
// Has {{connections}} connections take turns: http.Agent takes the idle connection that was used last (scheduling: 'lifo'),
// so that a pool with little to do sends everything over one. Each connection is still drawn once: it stays on its endpoint.
//
//     http.get('{{url}}/', { agent: agent() })
'use strict'
const http = require('node:{{scheme}}')

const agents = Array.from({ length: {{connections}} }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
let turn = 0

// Ask for each request; do not keep it.
function agent () {
  turn = (turn + 1) % agents.length
  return agents[turn]
}

module.exports = { agent, agents }
"""

_UNDICI_IN_TURN = """\
// Has undici's connections take turns; needs undici 7.18 or later. The pool opens another connection only while all it has are
// busy: without the first requests, sent at once, a client with little to do would stay at two or three.
//
//     await open('/healthz')
//     fetch('{{url}}/', { dispatcher: pool })
'use strict'
const { RoundRobinPool } = require('undici')

const CONNECTIONS = {{connections}}
const pool = new RoundRobinPool({{origin}}, { connections: CONNECTIONS, pipelining: 1 })

// Opens all connections, by as many requests for a cheap path.
async function open (path) {
  const request = async () => (await pool.request({ method: 'GET', path })).body.dump()
  await Promise.all(Array.from({ length: CONNECTIONS }, request))
}

module.exports = { pool, open }
"""

_POD_NAME = """\
// Says with every answer which Pod gave it; the variable comes from container-env.yaml. With Express: app.use(podName).
'use strict'

function podName (request, response, next) {
  response.setHeader('X-Pod-Name', process.env.POD_NAME ?? '')
  next()
}

module.exports = { podName }
"""

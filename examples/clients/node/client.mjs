// An HTTP client for a Service whose pods take turns, such as a leader Service: nothing but Node's own modules.
// An example to copy; the Go one beside it does the same.
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

export const defaults = {
  connect: 1000, // ms to make a connection: a node that is gone answers nothing, not even a refusal
  request: 5000, // ms for one try, to the last byte
  lifetime: 30000, // ms that a connection is used: one to a former leader stays open for as long as that pod lives
  tries: 10,
  pause: 500, // ms between two tries
};

export class Client {
  constructor(settings = {}) {
    this.settings = { ...defaults, ...settings };
  }

  // The pool of connections, a new one each lifetime. What is under way on the old one comes to its end; its
  // connections are closed when they become free.
  #agent() {
    if (!this.agent || Date.now() - this.made >= this.settings.lifetime) {
      this.#retire();
      this.agent = new http.Agent({ keepAlive: true, keepAliveMsecs: 15000, maxFreeSockets: 4, timeout: 15000 });
      this.made = Date.now();
    }
    return this.agent;
  }

  #retire() {
    if (!this.agent) return;
    for (const sockets of Object.values(this.agent.freeSockets)) sockets.forEach((socket) => socket.destroy());
    this.agent.maxFreeSockets = 0;
    this.agent = undefined;
  }

  // Fetches a URL; again when the connection fails or the server cannot answer now: safe for what may happen twice.
  async get(url) {
    let last;
    for (let attempt = 0; attempt < this.settings.tries; attempt++) {
      if (attempt > 0) await pause(this.settings.pause);
      try {
        return await this.#once(url);
      } catch (error) {
        last = error;
        this.#retire(); // what is wrong with one connection may be wrong with all to that pod
      }
    }
    throw new Error(`failed to get ${url} in ${this.settings.tries} tries: ${last.message}`, { cause: last });
  }

  #once(url) {
    const { connect, request } = this.settings;
    return new Promise((resolve, reject) => {
      const req = http.get(url, { agent: this.#agent(), signal: AbortSignal.timeout(request) }, (res) => {
        let body = '';
        res.setEncoding('utf8');
        res.on('data', (chunk) => (body += chunk));
        res.on('end', () => (res.statusCode === 200 ? resolve(body) : reject(new Error(`status ${res.statusCode}`))));
        res.on('error', reject);
      });
      req.on('socket', (socket) => {
        if (!socket.connecting) return;
        const timer = setTimeout(() => req.destroy(new Error('no connection')), connect);
        socket.once('connect', () => clearTimeout(timer));
        socket.once('close', () => clearTimeout(timer));
      });
      req.on('error', reject);
    });
  }
}

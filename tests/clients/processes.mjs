// The programs that the tests start, and the front door that has no memory.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const programs = process.env.BACKPLANE_PROGRAMS ?? 'target/debug';

/** A started program: its lines are awaited, and it ends with the test. */
class Program {
  constructor(t, name, args) {
    this.child = spawn(join(programs, name), args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.log = [];
    createInterface({ input: this.child.stderr }).on('line', (line) => this.log.push(line) > 20 && this.log.shift());
    this.heard = [];
    this.waiting = [];
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.heard.push(line);
      this.waiting = this.waiting.filter((look) => !look());
    });
    this.ended = once(this.child, 'exit');
    this.ended.then(([code]) => this.waiting.forEach((look) => look(code)));
    t.after(() => this.end());
  }

  /** The first line from `from` on that matches, as the match. */
  line(pattern, from = 0) {
    return new Promise((found, failed) => {
      const look = (code) => {
        const match = this.heard.slice(from).map((line) => line.match(pattern)).find(Boolean);
        if (match) found(match);
        else if (code !== undefined) failed(new Error(`ended (${code}) before a line like ${pattern}:\n${this.log.join('\n')}`));
        return match;
      };
      if (!look()) this.waiting.push(look);
    });
  }

  /** Says a line and waits for the answer to it. */
  async say(command) {
    const from = this.heard.length;
    this.child.stdin.write(`${command}\n`);
    await this.line(new RegExp(`^done: ${command}$`), from);
  }

  async end() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGTERM');
      await this.ended;
    }
  }
}

/** A real broker by its label, such as redis7; `say` stops, kills, starts it. */
export async function startBroker(t, label) {
  const broker = new Program(t, 'broker', [label]);
  const [, url] = await broker.line(/ ((?:redis|nats|kafka)[+a-z]*:\/\/\S+)$/);
  return { url, say: (command) => broker.say(command) };
}

/** The orders example with these arguments; `nodes` are the addresses of its nodes. */
export async function startOrders(t, ...args) {
  const anywhere = args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0'];
  const orders = new Program(t, 'orders', [...anywhere, '--step', '250ms', ...args]);
  const [, open] = await orders.line(/Open (http:\/\/\S+)/);
  const nodes = orders.heard.map((line) => line.match(/listens on (http:\S+)/)?.[1]).filter(Boolean);
  return { open, nodes, end: () => orders.end() };
}

/** The server of the functional tests with these arguments; the answer is its address. */
export async function startFunctional(t, ...args) {
  const server = new Program(t, 'functional', ['--listen', '127.0.0.1:0', ...args]);
  const [, address] = await server.line(/listens on (http:\S+)/);
  return address;
}

/** The front door as a program, to nodes at these ports; the answer is its address. */
export async function startDoor(t, ports) {
  const nodes = ports.map((port) => `127.0.0.1:${port}`);
  const door = new Program(t, 'front-door', ['--listen', '127.0.0.1:0', ...nodes]);
  const [, address] = await door.line(/listens on (http:\S+)/);
  return address;
}

/** The hub for load generators; the answer is its address. */
export async function startBenchHub(t, backplane = 'memory:') {
  const hub = new Program(t, 'bench-hub', ['--port', '0', '--backplane', backplane]);
  const [, address] = await hub.line(/listens on (http:\S+)/);
  return address;
}

/** Hands each new connection to the next address, whoever it comes from. */
export async function startFrontDoor(t, addresses) {
  let next = 0;
  const sockets = new Set();
  const keep = (socket) => sockets.add(socket).size && socket.on('close', () => sockets.delete(socket));
  const server = createServer((visitor) => {
    const { hostname, port } = new URL(addresses[next++ % addresses.length]);
    const node = connect(Number(port), hostname);
    [visitor, node].forEach(keep);
    visitor.pipe(node).pipe(visitor);
    visitor.on('error', () => node.destroy());
    node.on('error', () => visitor.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** Asks again until the answer is right; says what the last one was when time runs out. */
export async function until(what, ask, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    let last;
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s (last: ${last})`);
    await new Promise((over) => setTimeout(over, 50));
  }
}

/** What arrives, to be awaited one by one. */
export function queue(seconds = 30) {
  const items = [];
  const waiting = [];
  return {
    push: (item) => (waiting.length ? waiting.shift()(item) : items.push(item)),
    next: () => (items.length ? Promise.resolve(items.shift()) : new Promise((found, failed) => {
      const late = setTimeout(() => failed(new Error(`nothing arrived within ${seconds} s`)), seconds * 1000);
      waiting.push((item) => {
        clearTimeout(late);
        found(item);
      });
    })),
  };
}

// Connections without a hub's protocol: what a client sends comes back.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { HttpTransportType, LogLevel, TransferFormat } from '@microsoft/signalr';
import WebSocket from 'ws';
import { queue } from '../processes.mjs';

const require = createRequire(import.meta.url);
// The part of the client that carries bytes; it has no name of its own outside.
const { HttpConnection } = require('@microsoft/signalr/dist/cjs/HttpConnection');

function open(url, transport) {
  const connection = new HttpConnection(url, {
    transport,
    logger: { log() {} },
  });
  const come = queue();
  const closed = new Promise((resolve) => { connection.onclose = (...told) => resolve(told); });
  connection.onreceive = come.push;
  return { connection, come, closed };
}

/** Text of one of the two forms that transports have. */
const decoded = (data) => (typeof data === 'string' ? data : Buffer.from(data).toString());

async function echoes(url, transport) {
  const { connection, come, closed } = open(url, HttpTransportType[transport]);
  await connection.start(TransferFormat.Text);
  for (const message of ['Hello World', 'żółć ☕', 'two\nlines']) {
    await connection.send(message);
    assert.equal(decoded(await come.next()), message);
  }
  // Large texts may come in pieces.
  const large = 'ü☕'.repeat(20_000);
  await connection.send(large);
  let got = '';
  while (got.length < large.length) got += decoded(await come.next());
  assert.equal(got, large);
  await connection.stop();
  assert.deepEqual(await closed, [undefined]);
}

export const raw = {
  'what is sent comes back': (site, transport) => echoes(`${site}/echo`, transport),

  'bytes come back too': async (site, transport) => {
    if (transport === 'ServerSentEvents') return;
    const { connection, come, closed } = open(`${site}/echo`, HttpTransportType[transport]);
    await connection.start(TransferFormat.Binary);
    await connection.send(Uint8Array.from(Buffer.from('bytes')).buffer);
    assert.equal(decoded(await come.next()), 'bytes');
    await connection.stop();
    assert.deepEqual(await closed, [undefined]);
  },
};

/** Once, by whatever transport. */
export const rawOnce = {
  'the first transport that fits': (site) => echoes(`${site}/echo`),

  'a client that is redirected polls': async (site) => {
    // Node's clients follow no redirect of a WebSocket, nor a relative one of server-sent events.
    const { WebSockets, LongPolling } = HttpTransportType;
    const { connection, come, closed } = open(`${site}/echoredirect`, WebSockets | LongPolling);
    await connection.start(TransferFormat.Text);
    assert.equal(connection.transport.constructor.name, 'LongPollingTransport');
    await connection.send('over there');
    assert.equal(decoded(await come.next()), 'over there');
    await connection.stop();
    assert.deepEqual(await closed, [undefined]);
  },

};

/** Plain WebSockets, and how they are closed. */
export const sockets = {
  'a client closes without a code': async (site) => {
    for (const [path, message, answer] of [
      ['/echo', 'message', 'message'],
      ['/testhub', '{"protocol":"json","version":1}\u001e', '{}\u001e'],
    ]) {
      const { socket, come, closed } = await plain(site + path);
      socket.send(message);
      assert.equal(await come.next(), answer);
      socket.close();
      assert.deepEqual(await closed, { code: 1000, wasClean: true });
    }
  },

  'a client closes with a code': async (site) => {
    const { socket, closed } = await plain(`${site}/echo`);
    socket.close(4321, 'enough');
    assert.deepEqual(await closed, { code: 4321, wasClean: true });
  },

  'the server closes when there is no handshake': async (site) => {
    const { socket, come, closed } = await plain(`${site}/testhub`);
    socket.send('{"protocol":"speech","version":1}\u001e');
    assert.equal(await come.next(), '{"error":"The protocol \'speech\' is not supported."}\u001e');
    assert.deepEqual(await closed, { code: 1000, wasClean: true });
  },
};

async function plain(url) {
  const socket = new WebSocket(url.replace('http', 'ws'));
  const come = queue();
  socket.onmessage = ({ data }) => come.push(data);
  const closed = new Promise((resolve) => { socket.onclose = ({ code, wasClean }) => resolve({ code, wasClean }); });
  await once(socket, 'open');
  return { socket, come, closed };
}

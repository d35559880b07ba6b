// Connections of the official client to the functional server, over each transport and each protocol.

import assert from 'node:assert/strict';
import { HttpTransportType, HubConnectionBuilder, JsonHubProtocol, LogLevel } from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

export const TRANSPORTS = ['WebSockets', 'ServerSentEvents', 'LongPolling'];

/** What a client can speak over what. Server-sent events are text. */
export const PAIRS = TRANSPORTS.flatMap((transport) => ['json', 'messagepack']
  .filter((protocol) => transport !== 'ServerSentEvents' || protocol === 'json')
  .map((protocol) => ({ transport, protocol, title: `${transport} with ${protocol}` })));

/** A connection that has not started. */
export function build(url, { transport, protocol }, options = {}) {
  return builder(url, { transport, protocol }, options).build();
}

export function builder(url, { transport, protocol }, options = {}) {
  return new HubConnectionBuilder()
    .withUrl(url, { transport: HttpTransportType[transport], ...options })
    .withHubProtocol(protocol === 'json' ? new JsonHubProtocol() : new MessagePackHubProtocol())
    .configureLogging(LogLevel.None);
}

/** Starts the connection, uses it, and stops it, which must be its clean end. */
export async function use(connection, what) {
  const closed = new Promise((resolve) => connection.onclose((...told) => resolve(told)));
  await connection.start();
  try {
    return await what(connection);
  } finally {
    await connection.stop();
    assert.deepEqual(await closed, [undefined], 'a clean end');
  }
}

/** A connection to the test hub, and what it is used for. */
export function connected(site, pair, what, options = {}) {
  return use(build(`${site}/testhub`, pair, options), what);
}

/** The message that the promise is rejected with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error.message;
  }
  throw new assert.AssertionError({ message: 'it did not fail' });
}

/** All items of a stream, once it is over. */
export function all(stream) {
  const items = [];
  return new Promise((resolve, error) => {
    stream.subscribe({ next: (item) => items.push(item), error, complete: () => resolve(items) });
  });
}

/** The next arguments of a method that the server calls. */
export function called(connection, method) {
  return new Promise((resolve) => {
    const once = (...args) => {
      connection.off(method, once);
      resolve(args);
    };
    connection.on(method, once);
  });
}

export async function text(url) {
  return (await fetch(url, { headers: { connection: 'close' } })).text();
}

// The official bundles in a real browser, on a page of another origin than the functional server's: what the
// browser lets through depends on the server's answers, with credentials and without.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { launchBrowser } from './browser.mjs';
import { PAIRS, text } from './functional/connections.mjs';
import { startFunctional } from './processes.mjs';

const require = createRequire(import.meta.url);
const bundle = (name, file) => readFile(join(dirname(require.resolve(`${name}/package.json`)), 'dist/browser', file));

/** A page with both bundles; the answer is its address. */
async function servePage(t) {
  const scripts = {
    '/signalr.js': await bundle('@microsoft/signalr', 'signalr.min.js'),
    '/messagepack.js': await bundle('@microsoft/signalr-protocol-msgpack', 'signalr-protocol-msgpack.min.js'),
  };
  const server = createServer((request, response) => {
    const script = scripts[request.url];
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script ?? '<script src="/signalr.js"></script><script src="/messagepack.js"></script>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** In the page: a connection that does a bit of everything. */
async function useHub({ site, path, transport, protocol, token, withCredentials }) {
  const { HubConnectionBuilder, HttpTransportType, JsonHubProtocol, LogLevel, Subject, protocols } = globalThis.signalR;
  const connection = new HubConnectionBuilder()
    .withUrl(site + path, {
      transport: HttpTransportType[transport],
      withCredentials,
      ...(token && { accessTokenFactory: () => token }),
    })
    .withHubProtocol(protocol === 'json' ? new JsonHubProtocol() : new protocols.msgpack.MessagePackHubProtocol())
    .configureLogging(LogLevel.None)
    .build();
  const closed = new Promise((resolve) => connection.onclose((error) => resolve(String(error))));
  await connection.start();
  const found = { echo: await connection.invoke('Echo', 'żółć ☕') };
  if (!token) {
    found.transport = await connection.invoke('GetActiveTransportName');
    found.cookie = await connection.invoke('GetCookie', 'testCookie');
    found.expired = await connection.invoke('GetCookie', 'expiredCookie');
    found.origin = await connection.invoke('GetHeader', 'Origin');
    found.items = await new Promise((resolve, error) => {
      const items = [];
      connection.stream('Stream').subscribe({ next: (item) => items.push(item), error, complete: () => resolve(items) });
    });
    const subject = new Subject();
    const concatenated = connection.invoke('StreamingConcat', subject);
    ['a', 'b'].forEach((part) => subject.next(part));
    subject.complete();
    found.concatenated = await concatenated;
    connection.on('Result', () => 10);
    const answer = await fetch(`${site}/clientresult/${connection.connectionId}`, { credentials: 'include' });
    found.result = await answer.text();
    const object = await connection.invoke('SendComplexObject');
    found.bytes = object.ByteArray instanceof Uint8Array ? [...object.ByteArray] : object.ByteArray;
    found.date = object.DateTime instanceof Date ? object.DateTime.getTime() : object.DateTime;
  }
  await connection.stop();
  found.closed = await closed;
  return found;
}

/** In the page: what a web worker is answered, which loads the client from the server. */
function useWorker(site) {
  const source = `
    importScripts('${site}/lib/signalr-webworker/signalr.js');
    (async () => {
      const connection = new signalR.HubConnectionBuilder()
        .withUrl('${site}/testhub')
        .configureLogging(signalR.LogLevel.None)
        .build();
      await connection.start();
      postMessage(await connection.invoke('Echo', 'from a worker'));
      await connection.stop();
    })().catch((error) => postMessage(String(error)));`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  return new Promise((resolve, reject) => {
    const worker = new Worker(url);
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

for (const nodes of ['1', '2']) {
  test(`a page of another origin, nodes: ${nodes}`, { timeout: 180_000 }, (t) => pageOfAnotherOrigin(t, nodes));
}

async function pageOfAnotherOrigin(t, nodes) {
  const site = await startFunctional(t, '--nodes', nodes);
  const origin = await servePage(t);
  const browser = await launchBrowser();
  t.after(() => browser.close());

  for (const { title, transport, protocol } of PAIRS) {
    for (const withCredentials of [true, false]) {
      await t.test(`${title}, ${withCredentials ? 'with' : 'without'} credentials`, async () => {
        const context = await browser.newContext();
        const page = await context.newPage();
        await page.goto(origin);
        const found = await page.evaluate(useHub, { site, path: '/testHub', transport, protocol, withCredentials });
        const json = protocol === 'json';
        // Without credentials the browser does not keep the cookies of the negotiation.
        assert.deepEqual(found, {
          echo: 'żółć ☕',
          transport,
          cookie: withCredentials ? 'testValue' : null,
          expired: null,
          origin,
          items: ['a', 'b', 'c'],
          concatenated: 'ab',
          result: '10',
          bytes: json ? 'AQID' : [1, 2, 3],
          date: json ? '2000-01-01T00:00:00Z' : Date.UTC(2000, 0, 1),
          closed: 'undefined',
        });
        await context.close();
      });
    }
    await t.test(`${title}, logged in`, async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(origin);
      const token = await text(`${site}/generateJwtToken`);
      const options = { site, path: '/authorizedHub', transport, protocol, token, withCredentials: true };
      assert.deepEqual(await page.evaluate(useHub, options), { echo: 'żółć ☕', closed: 'undefined' });
      await context.close();
    });
  }

  await t.test('a web worker', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(origin);
    assert.equal(await page.evaluate(useWorker, site), 'from a worker');
    await context.close();
  });
}

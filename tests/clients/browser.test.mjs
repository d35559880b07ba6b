// The ground that the page tests stand on: a real browser runs the official client bundle.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { launchBrowser } from './browser.mjs';

const require = createRequire(import.meta.url);
const client = dirname(require.resolve('@microsoft/signalr/package.json'));

test('the browser runs the SignalR client', { timeout: 60_000 }, async (t) => {
  const bundle = await readFile(join(client, 'dist/browser/signalr.min.js'));
  const server = createServer((request, response) => {
    if (request.url === '/signalr.js') {
      response.setHeader('content-type', 'text/javascript').end(bundle);
    } else {
      response.setHeader('content-type', 'text/html').end('<script src="/signalr.js"></script>');
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => server.close());

  const browser = await launchBrowser();
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const found = await page.evaluate(() => ({
    version: globalThis.signalR.VERSION,
    state: new globalThis.signalR.HubConnectionBuilder().withUrl('/hub').build().state,
  }));
  const { version } = require('@microsoft/signalr/package.json');
  assert.deepEqual(found, { version, state: 'Disconnected' });
});

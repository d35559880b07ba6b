// The example's page in a real browser: two windows of one customer, on different nodes.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { launchBrowser } from './browser.mjs';
import { startBroker, startOrders, until } from './processes.mjs';

async function openPage(t, browser, site, user) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.goto(site);
  await page.fill('#name', user);
  await page.click('#login-form button');
  await page.waitForSelector('#state[data-state=connected]');
  const node = (await page.textContent('#node')).replace('connected to ', '');
  return { page, node, errors };
}

async function twoWindows(t, browser, site) {
  const windows = new Map();
  let tries = 0;
  await until('a window on each node', async () => {
    // The front door counts connections: one more now and then, or each window could land on the same node.
    if (tries++ % 2) await fetch(`${site}/health`, { headers: { connection: 'close' } });
    const window = await openPage(t, browser, site, 'ann');
    windows.set(window.node, window);
    return windows.size === 2;
  });
  return [...windows.values()];
}

async function ordersCross(t, site, picture) {
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const [one, two] = await twoWindows(t, browser, site);
  assert.match(await one.page.textContent('#footer'), /@microsoft\/signalr \d+/);

  // The windows are on different nodes, so each order crosses to exactly one of them.
  const placed = 2;
  for (let order = 1; order <= placed; order++) {
    await one.page.fill('#item', `tea ${order}`);
    await one.page.click('#order-form button');
    for (const { page } of [one, two]) {
      await page.waitForFunction((rows) => document.querySelectorAll('#told tr').length >= rows, order * 4);
    }
  }
  const crossed = await Promise.all([one, two].map(({ page }) => page.locator('.crossed:not(:empty)').count()));
  assert.equal(crossed[0] + crossed[1], placed * 4);
  for (const { page, errors } of [one, two]) {
    assert.equal(await page.locator('#orders li').count(), placed);
    assert.equal(await page.locator('#orders .done').count(), placed * 4);
    assert.deepEqual(errors, []);
  }
  await mkdir(dirname(picture), { recursive: true });
  await (crossed[0] ? one : two).page.screenshot({ path: picture, fullPage: true });
}

test('the page on memory', { timeout: 120_000 }, async (t) => {
  const { open } = await startOrders(t);
  await ordersCross(t, open, 'target/pages/memory.png');
});

test('the page over redis7', { timeout: 120_000 }, async (t) => {
  const { url } = await startBroker(t, 'redis7');
  const { open } = await startOrders(t, '--backplane', url);
  await ordersCross(t, open, 'target/pages/redis.png');
});

test('the page without the official bundle', { timeout: 120_000 }, async (t) => {
  const { open } = await startOrders(t);
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const context = await browser.newContext();
  await context.route('**/signalr.js', (route) => route.fulfill({ status: 404, body: '' }));
  const page = await context.newPage();
  await page.goto(open);
  await page.fill('#name', 'ann');
  await page.click('#login-form button');
  await page.waitForSelector('#state[data-state=connected]');
  await page.click('#order-form button');
  await page.waitForSelector('#orders .steps span.done:nth-child(4)');
  assert.match(await page.textContent('#footer'), /small one/);
});

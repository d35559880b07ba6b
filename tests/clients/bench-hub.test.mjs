// The hub for load generators: what it promises them, in one process and across two.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HttpTransportType, HubConnectionBuilder, LogLevel } from '@microsoft/signalr';
import { queue, startBenchHub, startBroker } from './processes.mjs';

const payload = { text: 'tea ☕', deep: [1, [2.5, null], { a: false }], big: 12345678901234567 };

async function client(t, site, user, options = {}) {
  const connection = new HubConnectionBuilder()
    .withUrl(`${site}${user ? `?user=${encodeURIComponent(user)}` : ''}`, options)
    .configureLogging(LogLevel.None)
    .build();
  const told = queue();
  connection.on('message', (...args) => told.push(args));
  await connection.start();
  t.after(() => connection.stop());
  return { connection, told };
}

/** Each method, sent by `one`; `two` may be on another node. */
async function serves(one, two) {
  const hears = async (who, what) => assert.deepEqual(await who.told.next(), [what]);
  await one.connection.invoke('Broadcast', payload);
  for (const who of [one, two]) await hears(who, payload);

  await one.connection.invoke('SendToUser', 'bob', 'for bob');
  await hears(two, 'for bob');

  await two.connection.invoke('Join', 'kitchen');
  await one.connection.invoke('SendToGroup', 'kitchen', 7);
  await hears(two, 7);

  // A fence: the sender is neither bob nor in the kitchen, and has heard nothing since the broadcast.
  await one.connection.invoke('Broadcast', 'fence');
  for (const who of [one, two]) await hears(who, 'fence');
}

test('one process, with and without negotiation', { timeout: 60_000 }, async (t) => {
  const site = await startBenchHub(t);
  const direct = { skipNegotiation: true, transport: HttpTransportType.WebSockets };
  await serves(await client(t, site), await client(t, site, 'bob', direct));
});

for (const label of ['redis7', 'nats2_15']) {
  test(`two processes over ${label}`, { timeout: 60_000 }, async (t) => {
    const { url } = await startBroker(t, label);
    const [a, b] = await Promise.all([startBenchHub(t, url), startBenchHub(t, url)]);
    await serves(await client(t, a, 'ann'), await client(t, b, 'bob'));
  });
}

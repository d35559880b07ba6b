// Every client, every feature: what the functional tests of the original ask of a server, on one node and
// on two behind a front door that hands each request to the next node.

import { describe, test } from 'node:test';
import { calls } from './functional/calls.mjs';
import { PAIRS, TRANSPORTS } from './functional/connections.mjs';
import { choices, lifetimes } from './functional/lifetimes.mjs';
import { raw, rawOnce, sockets } from './functional/raw.mjs';
import { polls, requests } from './functional/requests.mjs';
import { streams } from './functional/streams.mjs';
import { startBroker, startFunctional } from './processes.mjs';

async function everything(t, site) {
  const each = async (scenarios, title, ...args) => {
    for (const [name, run] of Object.entries(scenarios)) {
      await t.test(`${name}: ${title}`, { timeout: 60_000 }, () => run(site, ...args));
    }
  };
  for (const pair of PAIRS) await each({ ...calls, ...streams, ...lifetimes }, pair.title, pair);
  for (const protocol of ['json', 'messagepack']) await each(choices, protocol, protocol);
  for (const transport of TRANSPORTS) await each(raw, transport, transport);
  await each(rawOnce, 'raw');
  await each(polls, 'polls');
  await each(sockets, 'plain WebSockets');
  await each(requests, 'requests');
}

test('one node', { timeout: 600_000 }, async (t) => {
  await everything(t, await startFunctional(t));
});

describe('two nodes', () => {
  test('over memory', { timeout: 600_000 }, async (t) => {
    await everything(t, await startFunctional(t, '--nodes', '2'));
  });

  for (const label of ['redis7', 'nats2_15']) {
    test(`over ${label}`, { timeout: 600_000 }, async (t) => {
      const { url } = await startBroker(t, label);
      await everything(t, await startFunctional(t, '--nodes', '2', '--backplane', url));
    });
  }
});

// The official client against the orders example: a customer on one node, an order on the other.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connectCustomer, placeOrder } from './customer.mjs';
import { startBroker, startFrontDoor, startOrders, until } from './processes.mjs';

const STEPS = ['Placed', 'Preparing', 'Shipped', 'Delivered'];

/** Orders until another node than the customer's takes one; returns that order. */
async function orderElsewhere(site, customer) {
  return until('an order taken by another node', async () => {
    const order = await placeOrder(site, customer.token, { item: 'tea', quantity: 2 });
    for (const [at, status] of STEPS.entries()) {
      const told = await customer.told.next();
      assert.deepEqual(told, { orderId: order.orderId, status, node: order.node, sequence: at + 1 });
    }
    return order.node !== customer.node && order;
  });
}

/** A customer on each node of `site`, which hands connections out in turn. */
async function customerOnEach(t, site, nodes, user) {
  const customers = new Map();
  let tries = 0;
  await until('a customer on each node', async () => {
    // The front door counts connections: one more now and then, or each customer could land on the same node.
    if (tries++ % 2) await fetch(`${site}/health`, { headers: { connection: 'close' } });
    const customer = await connectCustomer(t, site, user);
    customers.set(customer.node, customer);
    return customers.size === nodes;
  });
  return [...customers.values()];
}

async function crosses(t, site) {
  const [one, two] = await customerOnEach(t, site, 2, 'ann');
  assert.notEqual(one.node, two.node);

  // One user, two nodes: both are told, in order, whoever takes the order.
  for (const sender of [one, two]) {
    const orderId = await sender.connection.invoke('PlaceOrder', { item: 'tea', quantity: 1 });
    for (const receiver of [one, two]) {
      for (const [at, status] of STEPS.entries()) {
        assert.deepEqual(await receiver.told.next(), { orderId, status, node: sender.node, sequence: at + 1 });
      }
    }
  }

  // Somebody else watches an order that a third party's node works on, and hears of nothing else.
  const [watcher, other] = await customerOnEach(t, site, 2, 'bob');
  const { orderId } = await placeOrder(site, one.token, { item: 'cake', quantity: 1 });
  await watcher.connection.invoke('WatchOrder', orderId);
  const last = await until('the last step', async () => {
    const seen = await watcher.watched.next();
    assert.equal(seen.orderId, orderId);
    return seen.sequence === STEPS.length && seen;
  });
  assert.equal(last.status, 'Delivered');
  await watcher.connection.invoke('UnwatchOrder', orderId);
  const fence = await other.connection.invoke('PlaceOrder', { item: 'fence', quantity: 1 });
  assert.equal((await watcher.told.next()).orderId, fence, 'nothing of anybody else came before');
  for (const receiver of [one, two]) {
    for (const _ of STEPS) assert.equal((await receiver.told.next()).orderId, orderId);
  }
  return one;
}

test('memory, one command', { timeout: 120_000 }, async (t) => {
  const { open, nodes } = await startOrders(t);
  assert.equal(nodes.length, 2);
  const customer = await crosses(t, open);
  await orderElsewhere(open, customer);
});

for (const label of ['redis7', 'valkey9', 'redis7_streams', 'valkey9_sentinel', 'nats2_9', 'nats2_15']) {
  describe(`two processes over ${label}`, () => {
    test('an order crosses them, also after the broker was killed', { timeout: 180_000 }, async (t) => {
      const broker = await startBroker(t, label);
      const replica = (name) =>
        startOrders(t, '--nodes', '1', '--node-name', name, '--jwt-secret', 'shared', '--backplane', broker.url);
      const replicas = await Promise.all([replica('replica-a'), replica('replica-b')]);
      const ready = (expected) => Promise.all(replicas.map(({ open }) =>
        until(`${open} ready: ${expected}`, async () => (await fetch(`${open}/health`)).ok === expected)));
      await ready(true);
      const site = await startFrontDoor(t, replicas.map(({ open }) => open));
      const customer = await crosses(t, site);
      await orderElsewhere(site, customer);

      await broker.say('kill');
      await ready(false);
      // Own connections are served while the broker is away.
      const local = await customer.connection.invoke('PlaceOrder', { item: 'tea', quantity: 1 });
      assert.equal((await customer.told.next()).orderId, local);
      for (let step = 1; step < STEPS.length; step++) await customer.told.next();

      await broker.say('start');
      await ready(true);
      await orderElsewhere(site, customer);
    });
  });
}

// The official client with stateful reconnect: it loses its socket, or its node, and notices nothing.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { HttpTransportType, HubConnectionBuilder, JsonHubProtocol, LogLevel } from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { logIn, placeOrder } from './customer.mjs';
import { startBroker, startDoor, startFunctional, startOrders, until, queue } from './processes.mjs';

/** How many customers live through the restarts: BACKPLANE_CUSTOMERS=500 for the long run. */
const CUSTOMERS = Number(process.env.BACKPLANE_CUSTOMERS ?? 12);
/** Between two orders of a customer: 120 orders/s in all. */
const PAUSE = (1000 * CUSTOMERS) / 120;

const PROTOCOLS = [JsonHubProtocol, MessagePackHubProtocol];

/** A stateful connection, and what its user has seen of its ends. */
async function connect(url, options = {}, Protocol = JsonHubProtocol) {
  const connection = new HubConnectionBuilder()
    .withUrl(url, { transport: HttpTransportType.WebSockets, ...options })
    .withHubProtocol(new Protocol())
    .withStatefulReconnect()
    .configureLogging(LogLevel.None)
    .build();
  const ends = [];
  connection.onclose((error) => ends.push(error ?? 'closed'));
  connection.onreconnecting((error) => ends.push(error ?? 'reconnecting'));
  await connection.start();
  return { connection, ends };
}

/** Stops connections that were not seen to end so far. */
async function stop(...connections) {
  for (const { ends } of connections) assert.deepEqual(ends, [], 'no disconnect');
  await Promise.all(connections.map(({ connection }) => connection.stop()));
}

/** Cuts the connection's socket as a network does that fails. */
async function cut(connection) {
  const { transport } = connection.connection;
  const socket = transport._webSocket;
  socket.terminate();
  await until('another socket', () => transport._webSocket && transport._webSocket !== socket);
}

for (const Protocol of PROTOCOLS) {
  const { name } = new Protocol();
  test(`${name}: a lost socket is replaced`, { timeout: 60_000 }, async (t) => {
    const site = await startFunctional(t);
    const client = await connect(`${site}/testhub`, {}, Protocol);
    const { connection } = client;
    const id = await connection.invoke('GetCallerConnectionId');
    const answers = [];
    for (let round = 0; round < 5; round++) {
      answers.push(connection.invoke('Echo', `before ${round}`));
      const cutting = cut(connection);
      answers.push(connection.invoke('Echo', `while ${round}`));
      await cutting;
      answers.push(connection.invoke('Echo', `after ${round}`));
      // This client gives up where it loses one socket while it still repeats itself by way of another.
      await answers.at(-1);
    }
    const told = await Promise.all(answers);
    assert.deepEqual(told, [0, 1, 2, 3, 4].flatMap((round) => ['before', 'while', 'after'].map((at) => `${at} ${round}`)));
    assert.equal(await connection.invoke('GetCallerConnectionId'), id);
    await stop(client);
  });
}

for (const label of ['memory', 'redis7', 'nats2_15', 'redis7_streams']) {
  test(`two nodes over ${label}: a lost socket is replaced by one to the other node`, { timeout: 90_000 }, async (t) => {
    const backplane = label === 'memory' ? 'memory:' : (await startBroker(t, label)).url;
    const site = await startFunctional(t, '--nodes', '2', '--backplane', backplane);
    for (const Protocol of PROTOCOLS) {
      const client = await connect(`${site}/testhub`, {}, Protocol);
      const { connection } = client;
      const messages = queue();
      connection.on('message', messages.push);
      const id = await connection.invoke('GetCallerConnectionId');
      for (let round = 0; round < 6; round++) {
        await cut(connection);
        await connection.invoke('InvokeWithString', `round ${round}`);
        assert.equal(await messages.next(), `round ${round}`);
        assert.equal(await connection.invoke('GetCallerConnectionId'), id);
      }
      await stop(client);
    }
  });
}

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

for (const label of ['redis7', 'nats2_15', 'redis7_streams', 'nats2_15_jetstream']) {
  describe(`three processes over ${label}`, () => {
    test('are restarted one after the other, and no customer notices', { timeout: 180_000 }, async (t) => {
      const STEPS = ['Placed', 'Preparing', 'Shipped', 'Delivered'];
      const broker = await startBroker(t, label);
      const start = (name, ...more) => startOrders(t,
        '--nodes', '1', '--node-name', name, '--jwt-secret', 'shared', '--backplane', broker.url, ...more);
      const ready = ({ open }) => until(`${open} is ready`, async () => (await fetch(`${open}/health`)).ok);
      const ports = [await freePort(), await freePort(), await freePort()];
      const place = (at) => start(`replica-${at}`, '--listen', `127.0.0.1:${ports[at]}`);
      const replicas = [await place(0), await place(1), await place(2)];
      // Takes all orders, and has no customers.
      const kitchen = await start('kitchen');
      await Promise.all([...replicas, kitchen].map(ready));
      const door = await startDoor(t, ports);

      const customers = [];
      for (let number = 0; number < CUSTOMERS; number++) {
        const token = await logIn(door, `customer ${number}`);
        // The door counts requests: one more, or all sockets would come to one node.
        await fetch(`${door}/health`, { headers: { connection: 'close' } });
        const client = await connect(`${door}/hubs/orders`, { accessTokenFactory: () => token });
        const told = [];
        client.connection.on('OrderStatusChanged', ({ orderId, status }) => told.push(`${orderId} ${status}`));
        customers.push({ ...client, token, told, placed: [] });
      }
      let serving = true;
      const ordering = Promise.all(customers.map(async (customer) => {
        while (serving) {
          const { orderId } = await placeOrder(kitchen.open, customer.token, { item: 'tea', quantity: 1 });
          customer.placed.push(orderId);
          await new Promise((over) => setTimeout(over, PAUSE));
        }
      }));
      const whereabouts = async () => {
        const nodes = await Promise.all(customers.map(({ connection }) => connection.invoke('WhoAmI')));
        return nodes.map(({ node }) => node);
      };
      const before = await whereabouts();
      assert.equal(new Set(before).size, 3, 'customers on each node');
      for (const at of [0, 1, 2]) {
        await replicas[at].end();
        replicas[at] = await place(at);
        await ready(replicas[at]);
      }
      serving = false;
      await ordering;
      for (const customer of customers) {
        const expected = customer.placed.flatMap((orderId) => STEPS.map((status) => `${orderId} ${status}`));
        await until('the last step', () => customer.told.length >= expected.length);
        assert.deepEqual([...customer.told].sort(), expected.sort(), 'nothing lost, nothing doubled');
        for (const orderId of customer.placed) {
          const steps = customer.told.filter((told) => told.startsWith(`${orderId} `));
          assert.deepEqual(steps, STEPS.map((status) => `${orderId} ${status}`), 'in order');
        }
      }
      assert.ok((await whereabouts()).every((node) => /^replica-\d$/.test(node)));
      await stop(...customers);
      const messages = customers.reduce((sum, { told }) => sum + told.length, 0);
      t.diagnostic(`${CUSTOMERS} customers, ${messages} messages: none lost or doubled, no disconnect`);
    });
  });
}

// What the official client and a plain one are told when they may not come in.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubConnectionBuilder, LogLevel } from '@microsoft/signalr';
import { connectCustomer, logIn } from './customer.mjs';
import { startOrders } from './processes.mjs';

function connection(site, token) {
  return new HubConnectionBuilder()
    .withUrl(`${site}/hubs/orders`, { accessTokenFactory: () => token })
    .configureLogging(LogLevel.None)
    .build();
}

test('a login that is missing, forged or foreign', { timeout: 120_000 }, async (t) => {
  const { open } = await startOrders(t);
  const customer = await connectCustomer(t, open, 'ann');
  const elsewhere = await startOrders(t, '--jwt-secret', 'another');
  const unauthorized = /Unauthorized: Status code '401'/;
  await assert.rejects(connection(open, '').start(), unauthorized);
  await assert.rejects(connection(open, 'no.such.token').start(), unauthorized);
  await assert.rejects(connection(open, await logIn(elsewhere.open, 'ann')).start(), unauthorized);
  // Whoever is in notices nothing.
  assert.equal((await customer.connection.invoke('WhoAmI')).user, 'ann');
});

test('calls that cannot be served', { timeout: 120_000 }, async (t) => {
  const { open } = await startOrders(t);
  const { connection } = await connectCustomer(t, open, 'ann');
  await assert.rejects(connection.invoke('NoSuchMethod'), /Unknown hub method 'NoSuchMethod'/);
  await assert.rejects(connection.invoke('PlaceOrder'), /Failed to invoke 'PlaceOrder' due to an error on the server/);
  await assert.rejects(connection.invoke('PlaceOrder', { item: '', quantity: 1 }), /HubException: An order needs/);
  await assert.rejects(streamed(connection, 'WhoAmI'),
    /attempted to invoke the non-streaming 'WhoAmI' method with a streaming invocation/);
  assert.equal((await connection.invoke('whoami')).user, 'ann', 'methods are found without case');
});

function streamed(connection, method) {
  return new Promise((complete, error) => connection.stream(method).subscribe({ next() {}, complete, error }));
}

// A customer of the orders example, with the official client.

import { HubConnectionBuilder, LogLevel } from '@microsoft/signalr';
import { queue } from './processes.mjs';

/** Logs in at `site` and connects there. */
export async function connectCustomer(t, site, user) {
  const token = await logIn(site, user);
  const connection = new HubConnectionBuilder()
    .withUrl(`${site}/hubs/orders`, { accessTokenFactory: () => token })
    .configureLogging(LogLevel.None)
    .build();
  const told = queue();
  const watched = queue();
  connection.on('OrderStatusChanged', told.push);
  connection.on('OrderWatched', watched.push);
  await connection.start();
  t.after(() => connection.stop());
  const { node } = await connection.invoke('WhoAmI');
  return { connection, node, told, watched, token };
}

export async function logIn(site, user) {
  const { token } = await post(site, '/login', { user });
  return token;
}

/** Places an order by plain HTTP; the answer names the node that took it. */
export function placeOrder(site, token, order) {
  return post(site, '/orders', order, { authorization: `Bearer ${token}` });
}

async function post(site, path, body, headers = {}) {
  const answer = await fetch(site + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close', ...headers },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

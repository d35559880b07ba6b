'use strict';

const STEPS = ['Placed', 'Preparing', 'Shipped', 'Delivered'];
const byId = (id) => document.getElementById(id);
const orders = new Map();
let myNode = '';
let token = '';

byId('footer').textContent =
  signalR.VERSION ? `Client: @microsoft/signalr ${signalR.VERSION}` : 'Client: the small one that comes with this example';

const connection = new signalR.HubConnectionBuilder()
  .withUrl('/hubs/orders', { accessTokenFactory: () => token })
  .withAutomaticReconnect()
  .withStatefulReconnect()
  .build();

connection.on('OrderStatusChanged', (status) => {
  tell(status);
  const order = orders.get(status.orderId) ?? addOrder(status.orderId, 'ordered in another window', '');
  order.taken = Math.max(order.taken, status.sequence);
  order.steps.forEach((step, at) => step.classList.toggle('done', at < order.taken));
  order.by.textContent = `taken by ${status.node}`;
});
// The node tells when messages for this page may be lost: what it shows is to be read anew.
connection.on('Backplane.Missed', async ({ reason, count, scope }) => {
  const what = reason === 'gap' ? `${count ?? 'some'} messages for ${scope} were lost` : 'messages may have been lost';
  note(`${what} (${reason}): reading anew`);
  await whoAmI();
});
connection.onreconnecting(() => show('reconnecting'));
connection.onreconnected(whoAmI);
connection.onclose(() => show('closed'));

byId('login-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const user = byId('name').value.trim();
  const answer = await fetch('/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  });
  if (!answer.ok) {
    alert(await answer.text());
    return;
  }
  token = (await answer.json()).token;
  byId('user').textContent = user;
  byId('login').hidden = true;
  byId('shop').hidden = false;
  byId('identity').hidden = false;
  await connection.start();
  await whoAmI();
  // Whether the node is on its own just now.
  setInterval(() => {
    const connected = ['connected', 'degraded'].includes(byId('state').dataset.state);
    if (connected) whoAmI().catch(() => { /* the connection tells of its end */ });
  }, 2_000);
});

byId('order-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const order = { item: byId('item').value, quantity: Number(byId('quantity').value) };
  const answer = await fetch('/orders', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(order),
  });
  if (!answer.ok) {
    alert(await answer.text());
    return;
  }
  const { orderId, node } = await answer.json();
  const shown = orders.get(orderId) ?? addOrder(orderId, '', node);
  shown.what.textContent = `${order.quantity} × ${order.item}`;
});

async function whoAmI() {
  const me = await connection.invoke('WhoAmI');
  myNode = me.node;
  byId('node').textContent = `connected to ${me.node}`;
  show(me.degraded ? 'degraded' : 'connected');
}

function show(state) {
  byId('state').dataset.state = state;
  byId('state').textContent = state === 'degraded' ? 'connected to this node only' : state;
}

function addOrder(id, title, node) {
  const item = element('li');
  const line = item.appendChild(element('div', 'what'));
  const what = line.appendChild(element('span', '', title));
  const by = line.appendChild(element('span', 'taken-by', node && `taken by ${node}`));
  const bar = item.appendChild(element('div', 'steps'));
  const steps = STEPS.map((step) => bar.appendChild(element('span', '', step)));
  byId('orders').prepend(item);
  const order = { what, by, steps, taken: 0 };
  orders.set(id, order);
  return order;
}

function note(text) {
  const cell = element('td', 'note', text);
  cell.colSpan = 4;
  log(cell);
}

function tell(status) {
  log(
    element('td', 'order', status.orderId.slice(-6)),
    element('td', '', `${status.sequence}. ${status.status}`),
    element('td', '', status.node),
    element('td', 'crossed', status.node === myNode ? '' : 'crossed nodes'),
  );
}

function log(...cells) {
  byId('nothing').hidden = true;
  const row = element('tr');
  row.append(...cells);
  byId('told').prepend(row);
  while (byId('told').children.length > 100) byId('told').lastChild.remove();
}

function element(name, className = '', text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

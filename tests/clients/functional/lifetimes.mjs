// How connections begin, end, and come back.

import assert from 'node:assert/strict';
import { build, builder, called, connected, failure, text, use } from './connections.mjs';

export const lifetimes = {
  'paths have no case': (site, pair) => use(build(`${site}/testHub`, pair), async (connection) => {
    assert.equal(await connection.invoke('Echo', 'hello'), 'hello');
  }),

  'a stopped connection starts again': async (site, pair) => {
    const connection = build(`${site}/testhub`, pair);
    const ids = [];
    for (let round = 0; round < 2; round++) {
      await connection.start();
      ids.push(await connection.invoke('GetCallerConnectionId'));
      await connection.stop();
    }
    assert.notEqual(ids[0], ids[1]);
  },

  'a hub that cannot be made says why': async (site, pair) => {
    const connection = build(`${site}/uncreatable`, pair);
    const closed = new Promise((resolve) => connection.onclose(resolve));
    // What comes right behind the handshake fails the start, and what comes later ends the connection.
    const told = await connection.start().then(() => closed, (error) => error);
    assert.equal(told.message, 'Server returned an error on close: Connection closed with an error. '
      + "InvalidOperationException: Unable to resolve service for type 'System.Object' while attempting to activate "
      + "'FunctionalTests.UncreatableHub'.");
  },

  'a client that hears nothing gives up': async (site, pair) => {
    // A client that polls does not wait for pings.
    if (pair.transport === 'LongPolling') return;
    const connection = build(`${site}/testhub`, pair);
    // Less than the start takes would find the client in a state that it has no way out of.
    connection.serverTimeoutInMilliseconds = 500;
    const closed = new Promise((resolve) => connection.onclose(resolve));
    await connection.start();
    assert.match((await closed).message, /Server timeout elapsed without receiving a message from the server\./);
  },

  'a lost connection comes back as a new one': async (site, pair) => {
    const connection = builder(`${site}/testhub`, pair).withAutomaticReconnect([0, 0, 0]).build();
    const gone = new Promise((resolve) => connection.onreconnecting(resolve));
    const back = new Promise((resolve) => connection.onreconnected(resolve));
    await use(connection, async () => {
      const before = connection.connectionId;
      connection.serverTimeout();
      assert.match((await gone).message, /Server timeout elapsed/);
      assert.equal(await back, connection.connectionId);
      assert.notEqual(connection.connectionId, before);
      assert.equal(await connection.invoke('GetCallerConnectionId'), connection.connectionId);
      const told = called(connection, 'Message');
      await connection.invoke('InvokeWithString', 'again');
      assert.deepEqual(await told, ['again']);
    });
  },

  'a client is redirected, each time anew': async (site, pair) => {
    const url = `${site}/redirect?numRedirects=0&baseUrl=${site}`;
    const connection = builder(url, pair).withAutomaticReconnect([0, 0, 0]).build();
    const back = new Promise((resolve) => connection.onreconnected(resolve));
    await use(connection, async () => {
      const number = await connection.invoke('GetNumRedirects');
      assert.ok(number >= 1);
      assert.equal(connection.baseUrl, url, 'it will ask there again');
      connection.serverTimeout();
      await back;
      assert.ok(await connection.invoke('GetNumRedirects') > number);
    });
  },

  'those who are not logged in are refused': async (site, pair) => {
    const refused = "Failed to complete negotiation with the server: Error: Unauthorized: Status code '401'";
    assert.equal(await failure(build(`${site}/authorizedhub`, pair).start()), refused);
    const forged = { accessTokenFactory: () => 'no.such.token' };
    assert.equal(await failure(build(`${site}/authorizedhub`, pair, forged).start()), refused);
  },

  'those who are logged in are served': async (site, pair) => {
    const accessTokenFactory = () => text(`${site}/generateJwtToken`);
    await use(build(`${site}/authorizedhub`, pair, { accessTokenFactory }), async (connection) => {
      assert.equal(await connection.invoke('Echo', 'hello'), 'hello');
    });
  },

  'a negotiation that fails says why': async (site, pair) => {
    assert.equal(await failure(build(`${site}/bad-negotiate`, pair).start()),
      "Failed to complete negotiation with the server: Error: Some response from server: Status code '400'");
  },

  'a hub without WebSockets': async (site, pair) => {
    const url = `${site}/testhub-nowebsockets`;
    if (pair.transport === 'WebSockets') {
      assert.match(await failure(build(url, pair).start()), /Unable to connect to the server with any of the available transports/);
      assert.match(await failure(build(url, pair, { skipNegotiation: true }).start()), /./);
    } else {
      await use(build(url, pair), async (connection) => {
        assert.equal(await connection.invoke('GetActiveTransportName'), pair.transport);
      });
    }
  },
};

/** Of clients that leave it to the server how they connect. */
export const choices = {
  'the first transport that fits is taken': async (site, protocol) => {
    const any = { transport: undefined, protocol };
    const active = (connection) => connection.invoke('GetActiveTransportName');
    assert.equal(await connected(site, any, active), 'WebSockets');
    assert.equal(await use(build(`${site}/testhub-nowebsockets`, any), active),
      protocol === 'json' ? 'ServerSentEvents' : 'LongPolling');
  },
};

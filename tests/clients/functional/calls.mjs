// Calls in both directions, and what they carry.

import assert from 'node:assert/strict';
import { called, connected, failure, text } from './connections.mjs';

export const calls = {
  'a method returns what it was given': (site, pair) => connected(site, pair, async (connection) => {
    for (const message of ['Hello', '', 'żółć ☕ \u001e\n"', 'x'.repeat(30_000)]) {
      assert.equal(await connection.invoke('Echo', message), message);
    }
    assert.equal(await connection.invoke('eCHO', 'case'), 'case');
  }),

  'many calls at once are answered in order': (site, pair) => connected(site, pair, async (connection) => {
    const messages = Array.from({ length: 50 }, (_, number) => `message ${number}`);
    assert.deepEqual(await Promise.all(messages.map((message) => connection.invoke('Echo', message))), messages);
  }),

  'a connection knows its id and its transport': (site, pair) => connected(site, pair, async (connection) => {
    assert.equal(await connection.invoke('GetCallerConnectionId'), connection.connectionId);
    assert.equal(await connection.invoke('GetActiveTransportName'), pair.transport);
  }),

  'the server calls back before the call completes': (site, pair) => connected(site, pair, async (connection) => {
    const told = [];
    connection.on('message', (message) => told.push(message));
    assert.equal(await connection.invoke('InvokeWithString', 'one'), null);
    assert.deepEqual(told, ['one']);
    connection.off('message');
    connection.on('MESSAGE', (message) => told.push(`2: ${message}`));
    await connection.invoke('InvokeWithString', 'two');
    assert.deepEqual(told, ['one', '2: two']);
    const sent = called(connection, 'message');
    await connection.send('InvokeWithString', 'three');
    assert.deepEqual(await sent, ['three']);
  }),

  'objects keep the names of their properties': (site, pair) => connected(site, pair, async (connection) => {
    const told = called(connection, 'CustomObject');
    await connection.invoke('SendCustomObject', { Name: 'test', Value: 42 });
    assert.deepEqual(await told, [{ Name: 'test', Value: 42 }]);
  }),

  'values of every type': (site, pair) => connected(site, pair, async (connection) => {
    const json = pair.protocol === 'json';
    const given = {
      ByteArray: json ? 'aGVsbG8=' : Uint8Array.from(Buffer.from('hello')),
      DateTime: json ? '2002-04-01T10:20:15Z' : new Date(Date.UTC(2002, 3, 1, 10, 20, 15)),
      Guid: '00010203-0405-0607-0706-050403020100',
      IntArray: [1, 2, 3, 255],
      String: 'Hello, World!',
    };
    assert.deepEqual(plain(await connection.invoke('EchoComplexObject', given)), given);
    assert.deepEqual(plain(await connection.invoke('SendComplexObject')), {
      ByteArray: json ? 'AQID' : Uint8Array.of(1, 2, 3),
      DateTime: json ? '2000-01-01T00:00:00Z' : new Date(Date.UTC(2000, 0, 1)),
      Guid: '00010203-0405-0607-0706-050403020100',
      IntArray: [1, 2, 3],
      String: 'hello world',
    });
  }),

  'errors have the exact texts': (site, pair) => connected(site, pair, async (connection) => {
    assert.equal(await failure(connection.invoke('ThrowException', 'An error occurred.')),
      "An unexpected error occurred invoking 'ThrowException' on the server. InvalidOperationException: An error occurred.");
    for (const method of ['EmptyStream', 'Stream']) {
      assert.equal(await failure(connection.invoke(method)),
        `The client attempted to invoke the streaming '${method}' method with a non-streaming invocation.`);
    }
    assert.equal(await failure(connection.invoke('NoSuchMethod')), "Unknown hub method 'NoSuchMethod'");
    assert.match(await failure(connection.invoke('Echo')),
      /^Failed to invoke 'Echo' due to an error on the server\. InvalidDataException: /);
    assert.equal(await connection.invoke('Echo', 'still there'), 'still there');
  }),

  'clients return results': (site, pair) => connected(site, pair, async (connection) => {
    const ask = () => text(`${site}/clientresult/${connection.connectionId}`);
    assert.equal(await ask(), "Client didn't provide a result.");
    connection.on('Result', () => 10);
    assert.equal(await ask(), '10');
    connection.off('Result');
    connection.on('result', async () => 11);
    assert.equal(await ask(), '11');
    connection.off('Result');
    connection.on('Result', () => {
      throw new Error('from callback');
    });
    assert.equal(await ask(), 'Error: from callback');
    connection.off('Result');
    connection.on('Result', () => Promise.reject(new Error('from promise')));
    assert.equal(await ask(), 'Error: from promise');
    assert.equal(await text(`${site}/clientresult/nobody`), "Connection 'nobody' does not exist.");
  }),

  'the headers and cookies of the connection': (site, pair) => connected(site, pair, async (connection) => {
    const header = (name) => connection.invoke('GetHeader', name);
    assert.equal(await header('X-Test'), 'tea');
    assert.equal(await header('x-missing'), null);
    assert.match(await header('User-Agent'), /^Microsoft SignalR\/\d+\.\d+ \(\d+\.\d+\.\d+.*; NodeJS; /);
    assert.equal(await connection.invoke('GetContentTypeHeader'), null);
    assert.equal(await connection.invoke('GetCookie', 'testCookie'), 'testValue');
    assert.equal(await connection.invoke('GetCookie', 'testCookie2'), 'testValue2');
    assert.equal(await connection.invoke('GetCookie', 'expiredCookie'), null);
  }, { headers: { 'X-Test': 'tea' } }),

  'groups reach whoever is in them': (site, pair) => connected(site, pair, (one) =>
    connected(site, pair, (two) => connected(site, pair, async (three) => {
      const group = `kitchen of ${one.connectionId}`;
      const told = [one, two, three].map((connection) => called(connection, 'Message'));
      await Promise.all([one, two].map((connection) => connection.invoke('Join', group)));
      await three.invoke('SendToGroup', group, 'tea');
      assert.deepEqual(await Promise.all(told.slice(0, 2)), [['tea'], ['tea']]);
      // A fence: the sender is in no group.
      await three.invoke('InvokeWithString', 'fence');
      assert.deepEqual(await told[2], ['fence']);
    }))),
};

/** With bytes of one kind, as Node has two. */
function plain(object) {
  const bytes = object.ByteArray;
  return { ...object, ByteArray: bytes instanceof Uint8Array ? Uint8Array.from(bytes) : bytes };
}

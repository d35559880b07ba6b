// Streams of the server, and those of the client.

import assert from 'node:assert/strict';
import { Subject } from '@microsoft/signalr';
import { all, called, connected, failure } from './connections.mjs';

export const streams = {
  'all items come, and then the end': (site, pair) => connected(site, pair, async (connection) => {
    assert.deepEqual(await all(connection.stream('Stream')), ['a', 'b', 'c']);
    assert.deepEqual(await all(connection.stream('stream')), ['a', 'b', 'c']);
    assert.deepEqual(await all(connection.stream('EmptyStream')), []);
  }),

  'a stream is cancelled, even at once': (site, pair) => connected(site, pair, async (connection) => {
    for (const wait of [() => {}, () => connection.invoke('Echo', 'it runs')]) {
      const told = called(connection, 'StreamCanceled');
      const subscription = connection.stream('InfiniteStream').subscribe({ next() {}, error() {}, complete() {} });
      await wait();
      subscription.dispose();
      assert.deepEqual(await told, []);
    }
    assert.equal(await connection.invoke('Echo', 'still there'), 'still there');
  }),

  'streams that fail': (site, pair) => connected(site, pair, async (connection) => {
    assert.equal(await failure(all(connection.stream('StreamThrowException', 'An error occurred.'))),
      "An unexpected error occurred invoking 'StreamThrowException' on the server. InvalidOperationException: An error occurred.");
    assert.equal(await failure(all(connection.stream('Echo', 'no stream'))),
      "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.");
    assert.equal(await failure(all(connection.stream('NoSuchMethod'))), "Unknown hub method 'NoSuchMethod'");
  }),

  'the client streams': (site, pair) => connected(site, pair, async (connection) => {
    for (const parts of [['Hello', ' ', 'world', '!'], []]) {
      const subject = new Subject();
      const result = connection.invoke('StreamingConcat', subject);
      parts.forEach((part) => subject.next(part));
      subject.complete();
      assert.equal(await result, parts.join(''));
    }
    // More than waits on the server, and other calls between.
    const subject = new Subject();
    const result = connection.invoke('StreamingConcat', subject);
    const parts = Array.from({ length: 100 }, (_, number) => `${number},`);
    parts.forEach((part) => subject.next(part));
    assert.equal(await connection.invoke('Echo', 'meanwhile'), 'meanwhile');
    subject.complete();
    assert.equal(await result, parts.join(''));
  }),

  "the client's stream fails": (site, pair) => connected(site, pair, async (connection) => {
    const subject = new Subject();
    const result = connection.invoke('StreamingConcat', subject);
    subject.next('Hello');
    subject.error(new Error('Something bad'));
    assert.equal(await failure(result),
      "An unexpected error occurred invoking 'StreamingConcat' on the server. HubException: Something bad");
    assert.equal(await connection.invoke('Echo', 'still there'), 'still there');
  }),
};

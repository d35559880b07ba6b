// Requests as they are, without a client around them: what browsers and proxies see.

import assert from 'node:assert/strict';

const HANDSHAKE = '{"protocol":"json","version":1}\u001e';

/** A request on a connection of its own; redirects are answers. */
function ask(url, options = {}) {
  return fetch(url, { redirect: 'manual', ...options, headers: { connection: 'close', ...options.headers } });
}

async function negotiated(site, path) {
  const answer = await ask(`${site}${path}/negotiate?negotiateVersion=1`, { method: 'POST' });
  assert.equal(answer.status, 200);
  return answer.json();
}

export const requests = {
  'a negotiation sets cookies': async (site) => {
    const answer = await ask(`${site}/testHub/negotiate?negotiateVersion=1`, { method: 'POST' });
    const cookies = answer.headers.getSetCookie();
    assert.deepEqual(cookies.map((cookie) => cookie.split(';')[0]),
      ['testCookie=testValue', 'testCookie2=testValue2', 'expiredCookie=doesntmatter']);
    // An hour ago, as far as that can be told.
    const age = Date.now() - Date.parse(cookies[2].match(/expires=([^;]+)/)[1]);
    assert.ok(Math.abs(age - 3_600_000) < 600_000, `${age}`);
    for (const cookie of cookies) assert.match(cookie, /; path=\/$/);
    // Behind a proxy that speaks HTTPS, they are for pages of other sites too.
    const headers = { 'x-forwarded-proto': 'https' };
    const secure = await ask(`${site}/testHub/negotiate?negotiateVersion=1`, { method: 'POST', headers });
    assert.deepEqual(secure.headers.getSetCookie().map((cookie) => cookie.replace(/expires=[^;]+; /, '')), [
      'testCookie=testValue; path=/; SameSite=None; Secure; Partitioned',
      'testCookie2=testValue2; path=/; SameSite=None; Secure; Partitioned',
      'expiredCookie=doesntmatter; path=/; SameSite=None; Secure; Partitioned',
    ]);
    assert.deepEqual((await ask(`${site}/testhub`)).headers.getSetCookie(), []);
  },

  'pages of other origins may ask': async (site) => {
    const origin = 'http://elsewhere.example';
    const asked = await ask(`${site}/testhub/negotiate`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'DELETE',
        'access-control-request-headers': 'x-requested-with,x-signalr-user-agent',
      },
    });
    assert.equal(asked.status, 204);
    const granted = (name) => asked.headers.get(`access-control-allow-${name}`);
    assert.equal(granted('origin'), origin);
    assert.equal(granted('credentials'), 'true');
    assert.equal(granted('methods'), 'DELETE');
    assert.equal(granted('headers'), 'x-requested-with,x-signalr-user-agent');
    for (const path of ['/testhub', '/nowhere', '/bad-negotiate']) {
      const answer = await ask(site + path, { headers: { origin } });
      assert.equal(answer.headers.get('access-control-allow-origin'), origin);
      assert.equal(answer.headers.get('vary'), 'origin');
    }
    assert.equal((await ask(`${site}/testhub`)).headers.get('access-control-allow-origin'), null);
  },

  'redirects keep the method and the query': async (site) => {
    for (const [method, path, to] of [
      ['POST', '/echoredirect/negotiate?negotiateVersion=1', '/echo/negotiate?negotiateVersion=1'],
      ['GET', '/echoRedirect?id=1&_=2', '/echo?id=1&_=2'],
      ['DELETE', '/echoredirect?id=1', '/echo?id=1'],
    ]) {
      const answer = await ask(site + path, { method });
      assert.equal(answer.status, 307);
      assert.equal(answer.headers.get('location'), to);
    }
  },

  'nobody is told why they are not let in': async (site) => {
    const answer = await ask(`${site}/authorizedhub/negotiate?negotiateVersion=1`, { method: 'POST' });
    assert.equal(answer.status, 401);
    assert.equal(answer.statusText, 'Unauthorized');
    assert.equal(await answer.text(), '');
  },

  'a login is three parts of text': async (site) => {
    const answer = await ask(`${site}/generateJwtToken`);
    assert.match(answer.headers.get('content-type'), /^text\/plain/);
    const [header, claims] = (await answer.text()).split('.').slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url')));
    assert.equal(header.alg, 'HS256');
    assert.equal(claims.nameid, 'testuser');
    assert.ok(Math.abs(claims.exp - Date.now() / 1000) < 60);
  },

  'web workers find their client': async (site) => {
    const answer = await ask(`${site}/lib/signalr-webworker/signalr.js`);
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^text\/javascript/);
    assert.match(await answer.text(), /HubConnectionBuilder/);
  },

  'the deployment is JSON': async (site) => {
    assert.ok((await (await ask(`${site}/deployment`)).json()).node);
  },
};

export const polls = {
  'the poll that waits ends when the client does': async (site) => {
    const { connectionToken } = await negotiated(site, '/testhub');
    const url = `${site}/testhub?id=${connectionToken}`;
    assert.equal((await ask(url)).status, 200);
    assert.equal((await ask(url, { method: 'POST', body: HANDSHAKE })).status, 200);
    assert.equal(await (await ask(url)).text(), '{}\u001e');
    const waits = ask(url);
    assert.equal((await ask(url, { method: 'DELETE' })).status, 202);
    // The hub says that it ends, if the poll waited already; then there is nothing more.
    let answer = await waits;
    while (answer.status === 200) answer = await ask(url);
    assert.ok([204, 404].includes(answer.status), `${answer.status}`);
    assert.equal((await ask(url, { method: 'POST', body: HANDSHAKE })).status, 404);
  },
};

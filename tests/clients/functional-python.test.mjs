// A client of other authors against the functional server: what the official one takes could be what it made.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { TRANSPORTS } from './functional/connections.mjs';
import { startFunctional } from './processes.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'python');

async function runs(site, transport) {
  const { stdout } = await promisify(execFile)('python3', [join(folder, 'client.py'), site, transport], {
    timeout: 60_000,
    env: { ...process.env, PYTHONPATH: join(folder, 'modules'), PYTHONDONTWRITEBYTECODE: '1' },
  });
  assert.match(stdout, /^done$/m);
}

for (const nodes of ['1', '2']) {
  for (const transport of TRANSPORTS) {
    test(`signalrcore over ${transport}, nodes: ${nodes}`, { timeout: 120_000 }, async (t) => {
      await runs(await startFunctional(t, '--nodes', nodes), transport);
    });
  }
}

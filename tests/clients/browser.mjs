// Debian's Chromium, headless, driven by Playwright, with nothing of its own to say to the network.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome'];

/** The browser's program; BACKPLANE_CHROMIUM_BIN may name another. */
export function browserProgram() {
  if (process.env.BACKPLANE_CHROMIUM_BIN) {
    return process.env.BACKPLANE_CHROMIUM_BIN;
  }
  const folders = (process.env.PATH ?? '').split(delimiter);
  const candidates = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) {
    throw new Error('no Chromium on this machine: run tests/run --fetch, or name one in BACKPLANE_CHROMIUM_BIN');
  }
  return found;
}

/** Starts the browser with an empty profile. Close it, or the test does not end. */
export function launchBrowser() {
  return chromium.launch({
    executablePath: browserProgram(),
    headless: true,
    args: [
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), // Chromium's sandbox refuses root
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-gpu',
      '--disable-quic',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

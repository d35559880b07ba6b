'use strict';

// As much of a SignalR client as this page needs, for machines without the official bundle:
// WebSockets, JSON, invocations both ways, and reconnection after a pause.
window.signalR = (() => {
  const END = '\x1e';

  class HubConnection {
    constructor(path, token) {
      Object.assign(this, { path, token, handlers: {}, calls: new Map(), next: 0, events: {} });
    }
    on(target, handler) { this.handlers[target.toLowerCase()] = handler; }
    onreconnecting(handler) { this.events.reconnecting = handler; }
    onreconnected(handler) { this.events.reconnected = handler; }
    onclose(handler) { this.events.close = handler; }

    async start() {
      const headers = { authorization: `Bearer ${this.token()}` };
      const answer = await fetch(`${this.path}/negotiate?negotiateVersion=1`, { method: 'POST', headers });
      const { connectionToken } = await answer.json();
      const query = new URLSearchParams({ id: connectionToken, access_token: this.token() });
      const socket = new WebSocket(`${location.origin.replace('http', 'ws')}${this.path}?${query}`);
      await new Promise((ready, failed) => {
        socket.onopen = () => socket.send(JSON.stringify({ protocol: 'json', version: 1 }) + END);
        socket.onerror = () => failed(new Error('The connection failed.'));
        socket.onmessage = ({ data }) => {
          const [handshake, ...rest] = data.split(END);
          const { error } = JSON.parse(handshake);
          if (error) { failed(new Error(error)); return; }
          socket.onmessage = (message) => this.receive(message.data);
          this.receive(rest.join(END));
          ready();
        };
      });
      this.socket = socket;
      this.pings = setInterval(() => socket.send(JSON.stringify({ type: 6 }) + END), 15_000);
      socket.onclose = () => this.lost();
    }

    invoke(target, ...args) {
      const invocationId = String(this.next++);
      this.socket.send(JSON.stringify({ type: 1, invocationId, target, arguments: args }) + END);
      return new Promise((resolve, reject) => this.calls.set(invocationId, { resolve, reject }));
    }

    receive(data) {
      for (const text of data.split(END).filter(Boolean)) {
        const message = JSON.parse(text);
        if (message.type === 1) this.handlers[message.target.toLowerCase()]?.(...message.arguments);
        if (message.type === 3) {
          const call = this.calls.get(message.invocationId);
          this.calls.delete(message.invocationId);
          if (message.error) call?.reject(new Error(message.error));
          else call?.resolve(message.result);
        }
      }
    }

    async lost() {
      clearInterval(this.pings);
      this.calls.forEach((call) => call.reject(new Error('The connection was lost.')));
      this.calls.clear();
      this.events.reconnecting?.();
      for (const pause of [0, 2_000, 10_000, 30_000]) {
        await new Promise((over) => setTimeout(over, pause));
        try {
          await this.start();
          this.events.reconnected?.();
          return;
        } catch { /* the next pause is longer */ }
      }
      this.events.close?.();
    }
  }

  class HubConnectionBuilder {
    withUrl(path, { accessTokenFactory }) { this.made = new HubConnection(path, accessTokenFactory); return this; }
    withAutomaticReconnect() { return this; }
    withStatefulReconnect() { return this; }
    build() { return this.made; }
  }
  return { HubConnectionBuilder };
})();

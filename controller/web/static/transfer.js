// Files between this browser and a device: each on a WebSocket of its own, opened with a ticket of its own.
"use strict";

(() => {
  class TransferError extends Error {}

  // One WebSocket as a queue of messages: texts come parsed, bytes as they are.
  class Line {
    constructor(ticket) {
      this.queue = [];
      this.wake = null;
      this.socket = new WebSocket(`wss://${location.host}/web/socket?ticket=${encodeURIComponent(ticket)}`);
      this.socket.binaryType = "arraybuffer";
      this.socket.onmessage = ({ data }) => this.put(typeof data === "string" ? JSON.parse(data) : data);
      this.socket.onclose = () => this.put({ type: "end", text: "the connection was lost" });
    }

    put(message) {
      this.queue.push(message);
      this.wake?.();
    }

    async opened() {
      if (this.socket.readyState === WebSocket.OPEN) return;
      await new Promise((done, failed) => {
        this.socket.addEventListener("open", done, { once: true });
        this.socket.addEventListener("close", () => failed(new TransferError("the connection was refused")), { once: true });
      });
    }

    async next() {
      while (!this.queue.length) await new Promise((done) => (this.wake = done));
      const message = this.queue.shift();
      if (message.type === "end") throw new TransferError(message.text || "it was broken off");
      return message;
    }

    say(message) {
      this.socket.send(JSON.stringify(message));
    }
  }

  // `ask(size)` resolves to whether a file that stands there is replaced; `step(done, of)` shows progress.
  async function upload({ ticket, file, ahead, piece, ask, step, stop }) {
    const line = new Line(ticket);
    stop.addEventListener("abort", () => line.socket.close());
    try {
      return await sendOn(line, { file, ahead, piece, ask, step });
    } finally {
      line.socket.close();
    }
  }

  async function sendOn(line, { file, ahead, piece, ask, step }) {
    await line.opened();
    line.say({ type: "file", size: file.size, overwrite: false });
    for (;;) {
      const answer = await line.next();
      if (answer.type === "go") break;
      if (!(await ask(answer.size))) return false;
      line.say({ type: "file", size: file.size, overwrite: true });
    }
    let sent = 0;
    let took = 0;
    while (took < file.size) {
      while (sent < file.size && sent - took < ahead) {
        const part = await file.slice(sent, sent + piece).arrayBuffer();
        line.socket.send(part);
        sent += part.byteLength;
      }
      const answer = await line.next();
      took += answer.bytes ?? 0;
      step(took, file.size);
    }
    line.say({ type: "done" });
    while ((await line.next()).type !== "done");
    return { bytes: file.size };
  }

  async function download({ ticket, most, step, stop }) {
    const line = new Line(ticket);
    stop.addEventListener("abort", () => line.socket.close());
    try {
      return await takeFrom(line, most, step);
    } finally {
      line.socket.close();
    }
  }

  async function takeFrom(line, most, step) {
    await line.opened();
    const about = await line.next();
    const parts = [];
    let count = 0;
    for (;;) {
      const message = await line.next();
      if (message.type === "done") break;
      if (!(message instanceof ArrayBuffer)) continue;
      parts.push(new Blob([message]));
      count += message.byteLength;
      if (count > most) throw new TransferError("the file is too large for the browser");
      line.say({ type: "took", bytes: message.byteLength });
      step(count, about.size);
    }
    save(new Blob(parts, { type: "application/octet-stream" }), about.name);
    return { bytes: count };
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  window.skerryTransfer = { upload, download };
})();

// The official JavaScript client against a server that echoes: `node interop.mjs URL`. One JSON line a case; exits 0 when all pass.
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import msgpackParser from "socket.io-msgpack-parser";

const url = process.argv[2];
const PATIENCE_MS = 5000;
const parsers = { json: { path: "/socket.io/" }, msgpack: { path: "/socket.io-msgpack/", parser: msgpackParser } };
const transports = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] };

const once = (emitter, name) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} in time`)), PATIENCE_MS);
    emitter.once(name, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });

async function echo(options, kind) {
  const socket = io(url, { ...options, forceNew: true, reconnection: false, auth: { token: "t" } });
  const custom = io(`${url}/custom`, { ...options, forceNew: true, reconnection: false });
  try {
    const greeted = once(socket, "auth");
    const upgraded = kind === "upgrade" ? once(socket.io, "open").then(() => once(socket.io.engine, "upgrade")) : null;
    assert.deepEqual(await greeted, [{ token: "t" }]);
    await upgraded;
    assert.equal(socket.io.engine.transport.name, kind === "upgrade" ? "websocket" : kind);
    const payload = ["text é", 1.5, { nested: [true, null] }, Buffer.from([0, 255])];
    socket.emit("message", ...payload);
    assert.deepEqual(await once(socket, "message-back"), payload);
    if (!custom.connected) await once(custom, "connect");
    custom.emit("message", "there");
    assert.deepEqual(await once(custom, "message-back"), ["there"]);
    assert.deepEqual(await socket.timeout(PATIENCE_MS).emitWithAck("message-with-ack", "x"), "x");
    const numbers = [];
    socket.on("message-back", (number) => numbers.push(number));
    for (let number = 0; number < 200; number++) socket.emit("message", number);
    await socket.timeout(PATIENCE_MS).emitWithAck("message-with-ack", "last");
    assert.deepEqual(numbers, [...Array(200).keys()]);
  } finally {
    socket.disconnect();
    custom.disconnect();
  }
}

async function refusal(options) {
  const socket = io(`${url}/nowhere`, { ...options, forceNew: true, reconnection: false });
  const [error] = await once(socket, "connect_error");
  socket.disconnect();
  assert.equal(error.message, "Invalid namespace");
}

async function ending(options, event, comesBack) {
  const socket = io(url, { ...options, forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 40 });
  await once(socket, "auth");
  const ended = once(socket, "disconnect");
  socket.emit(event);
  const [reason, details] = await ended;
  assert.equal(reason, comesBack ? "transport close" : "io server disconnect");
  if (comesBack && options.transports[0] === "websocket") assert.equal(details.context.code, 3001);
  if (comesBack) await once(socket, "connect");
  assert.equal(socket.active, comesBack);
  socket.disconnect();
}

for (const [parserName, parser] of Object.entries(parsers)) {
  for (const [kind, names] of Object.entries(transports)) {
    const options = { ...parser, transports: names };
    const cases = { echo: () => echo(options, kind), refusal: () => refusal(options) };
    if (kind !== "upgrade") {
      cases["come back"] = () => ending(options, "close-shutdown", true);
      cases["do not come back"] = () => ending(options, "close-revoked", false);
    }
    for (const [name, run] of Object.entries(cases)) {
      await run();
      console.log(JSON.stringify({ parser: parserName, transport: kind, case: name }));
    }
  }
}
process.exit(0);

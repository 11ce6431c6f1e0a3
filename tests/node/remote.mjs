// The official JavaScript client, told what to do on stdin and saying on stdout all that happens to it, one JSON a line:
// `node remote.mjs URL NAMESPACE OPTIONS`. OPTIONS may hold `parser: "msgpack"`, and `auth`, which "auth" commands change.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import msgpackParser from "socket.io-msgpack-parser";

const [url, namespace, given] = process.argv.slice(2);
const { auth, parser, ...options } = JSON.parse(given);
const PATIENCE_MS = 10_000;
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const socket = io(url + namespace, {
  reconnectionDelay: 20,
  reconnectionDelayMax: 100,
  ...options,
  ...(parser === "msgpack" ? { parser: msgpackParser, path: "/socket.io-msgpack/" } : {}),
  auth: (give) => give(auth),
});

socket.on("connect", () => {
  const engine = socket.io.engine;
  say({ what: "connect", id: socket.id, recovered: socket.recovered === true, transport: engine.transport.name });
  engine.once("upgrade", () => say({ what: "upgrade", transport: engine.transport.name }));
});
socket.on("disconnect", (reason, details) => say({ what: "disconnect", reason, code: details?.context?.code ?? null }));
socket.on("connect_error", (error) => say({ what: "refused", message: error.message, data: error.data ?? null }));
socket.onAny((name, ...args) => say({ what: "event", name, args }));

const commands = {
  ask: async ({ name, payload }) => {
    try {
      return await socket.timeout(PATIENCE_MS).emitWithAck(name, payload);
    } catch (error) {
      return { ok: false, error: { code: "client", message: error.message } };
    }
  },
  auth: (changes) => Object.assign(auth, changes),
  drop: () => void socket.io.engine.close(),
  connect: () => void socket.connect(),
  transport: () => socket.io.engine?.transport?.name ?? null,
  stop: () => {
    socket.disconnect();
    process.exit(0);
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { number, command, ...rest } = JSON.parse(line);
  say({ what: "answer", number, value: (await commands[command](rest)) ?? null });
});

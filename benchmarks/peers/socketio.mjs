// Socket.IO 4 on Node, as its documentation shows it: one process, the in-memory adapter, websockets without deflate.
// With MONGODB_URI each message is stored with majority and journal before anyone is told about it.
//
// It speaks the part of Flow's contract that the load generator uses: the same events, the same fields, the same bytes.

import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import { MongoClient } from "mongodb";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false, perMessageDeflate: false });
const messages = await collection(process.env.MONGODB_URI);
const positions = new Map();

async function collection(uri) {
  if (!uri) return null;
  const client = await new MongoClient(uri, { writeConcern: { w: "majority", journal: true } }).connect();
  return client.db("peer").collection("messages");
}

io.of("/chat").on("connection", (socket) => {
  const userId = socket.handshake.auth.userId ?? socket.id;

  socket.on("chat:join_room", (roomId, ack) => {
    socket.join(roomId);
    ack({ ok: true, epoch: 1, seq: positions.get(roomId) ?? 0, recovered: false, messages: [] });
  });

  socket.on("chat:send_message", async ({ roomId, text, clientMsgId }, ack) => {
    const id = randomBytes(12).toString("hex");
    const ts = Date.now();
    if (messages) await messages.insertOne({ _id: id, roomId, userId, text, ts, clientMsgId });
    const seq = (positions.get(roomId) ?? 0) + 1; // the order of telling, which costs the peer nothing to keep
    positions.set(roomId, seq);
    io.of("/chat").to(roomId).emit("chat:new_message", { roomId, seq, epoch: 1, id, userId, text, ts, clientMsgId });
    ack({ ok: true, id, seq, epoch: 1, ts });
  });
});

http.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));

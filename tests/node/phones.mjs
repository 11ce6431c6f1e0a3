// Phones with the official JavaScript client, for the chaos runs: `node phones.mjs TASK.json`. The same words on standard
// input, the same reports and the same histories as tests/chaos/phones.py; reconnecting is left to the client library.
import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const task = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ANSWER_MS = 7000;
const LINES_HELD = 200;
const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let quiet = false;
let busy = 0;

// A small seeded generator, so that a run's choices are the seed's.
function chooser(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const seen = (body) => [body.seq, body.id, body.clientMsgId, body.epoch, body.userId, body.text];

class Phone {
  constructor(person) {
    this.person = person;
    this.random = chooser(`${task.seed} ${person.name}`);
    this.rooms = new Map(person.rooms.map((room) => [room, { since: null, joined: false }]));
    this.connection = 0;
    this.operations = 0;
    this.delivered = 0;
    this.acked = 0;
    this.lines = [];
    const options = {
      // Every other phone uses the client library's own connection state recovery.
      auth: { token: person.token, recover: Number(person.name.at(-1)) % 2 === 0 },
      transports: person.transports,
      forceNew: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
    };
    this.chat = io(`${task.url}/chat`, options);
    this.events = this.chat.io.socket("/events", { auth: options.auth });
    this.chat.on("connect", () => this.connected());
    this.chat.on("disconnect", (reason) => {
      for (const room of this.rooms.values()) [room.wasJoined, room.joined] = [room.joined, false];
      this.write({ what: "disconnected", connection: this.connection, reason });
      if (reason === "io server disconnect") this.chat.connect();
    });
    this.chat.on("connect_error", () => {
      if (!this.chat.active) setTimeout(() => this.chat.connect(), 500);
    });
    this.events.on("connect_error", () => {
      if (!this.events.active) setTimeout(() => this.events.connect(), 500);
    });
    this.chat.on("chat:new_message", (body) => this.told(body));
    this.chat.on("chat:resync", (body) => {
      this.write({ what: "resynced", connection: this.connection, room: body.roomId, epoch: body.epoch, seq: body.seq });
      const room = this.rooms.get(body.roomId);
      if (room) room.joined = false;
    });
    this.events.on("event:rsvp_update", (body) =>
      this.write({ what: "counted", event: body.eventId, attending: body.attending }),
    );
    this.events.connect();
  }

  get whole() {
    return this.chat.connected && [...this.rooms.values()].every((room) => room.joined);
  }

  write(record) {
    this.lines.push(JSON.stringify({ at: now(), ...record }));
    if (this.lines.length >= LINES_HELD) this.flush();
  }

  flush() {
    if (this.lines.length) appendFileSync(this.person.history, this.lines.join("\n") + "\n");
    this.lines = [];
  }

  connected() {
    this.connection += 1;
    const transport = this.person.transports.at(-1);
    this.write({ what: "connected", connection: this.connection, transport, recovered: this.chat.recovered });
    // A recovered socket is joined where it was; whatever was not sure before it broke is joined anew.
    if (this.chat.recovered) for (const room of this.rooms.values()) room.joined = room.wasJoined ?? false;
  }

  told(body) {
    this.delivered += 1;
    this.write({ what: "delivered", connection: this.connection, room: body.roomId, message: seen(body) });
    const room = this.rooms.get(body.roomId);
    if (room?.joined) room.since = Math.max(room.since ?? 0, body.seq);
  }

  // The answer, or null. It is written down as it arrives.
  attempt(question, operation, attempt, onSuccess = () => {}) {
    const socket = question.kind === "rsvp" || question.kind === "watch" ? this.events : this.chat;
    const connection = this.connection;
    if (!socket.connected) return sleep(100).then(() => null);
    const { kind, place, key, text, since, status } = question;
    this.write({ what: "asked", operation, attempt, kind, place, connection, key, text, since, status });
    return new Promise((resolve) => {
      const done = (answer) => {
        clearTimeout(timer);
        socket.off("disconnect", broke);
        resolve(answer);
      };
      const giveUp = (reason) => {
        this.write({ what: "gave_up", operation, attempt, reason });
        done(null);
      };
      const broke = () => giveUp("the connection broke");
      const timer = setTimeout(() => giveUp("no answer in time"), ANSWER_MS);
      socket.once("disconnect", broke);
      socket.emit(question.event, question.payload, (answer) => {
        this.answered(operation, attempt, answer);
        if (answer.ok && connection === this.connection) onSuccess(answer);
        done(answer);
      });
    });
  }

  answered(operation, attempt, answer) {
    if (!answer.ok) {
      const { code, retryable } = answer.error;
      this.write({ what: "answered", operation, attempt, code, retryable });
      return;
    }
    const { id, seq, epoch, ts, recovered, messages, status, attending, place } = answer;
    const record = { what: "answered", operation, attempt, id, seq, epoch, ts, recovered, attending, rank: place };
    if (status) record.status = status;
    if (messages) record.messages = messages.map(seen);
    this.write(record);
  }

  async twice(question, operation, again = false) {
    const answer = await this.attempt(question, operation, 1);
    if (!again && answer && (answer.ok || !answer.error.retryable)) return answer;
    if (!answer?.ok) {
      await sleep(answer?.error?.retryAfterMs ?? 300);
      await this.waitConnected();
    }
    return (await this.attempt(question, operation, 2)) ?? answer;
  }

  async waitConnected() {
    for (let turn = 0; turn < 150 && !(this.chat.connected && this.events.connected); turn++) await sleep(100);
  }

  async send() {
    const known = [...this.rooms].filter(([, room]) => room.since !== null).map(([name]) => name);
    if (!known.length) return; // in an event's chat, joining is what makes a member
    const place = known[Math.floor(this.random() * known.length)];
    const operation = ++this.operations;
    const key = `${this.person.name}-${operation}`;
    const payload = { roomId: place, text: key, clientMsgId: key };
    const question = { kind: "send", place, event: "chat:send_message", payload, key, text: key };
    const answer = await this.twice(question, operation, this.random() < 0.03);
    if (answer?.ok) this.acked += 1;
  }

  async rsvp() {
    if (!this.person.events.length) return;
    const place = this.person.events[Math.floor(this.random() * this.person.events.length)];
    const status = ["going", "going", "going", "declined", "interested"][Math.floor(this.random() * 5)];
    const question = { kind: "rsvp", place, event: "event:rsvp", payload: { eventId: place, status }, status };
    await this.twice(question, ++this.operations);
  }

  async stayJoined() {
    for (;;) {
      for (const [place, room] of this.rooms) {
        if (room.joined || !this.chat.connected) continue;
        const since = room.since;
        const payload = since === null ? place : { roomId: place, since };
        const question = { kind: "join", place, event: "chat:join_room", payload };
        if (since !== null) question.since = since;
        const answer = await this.attempt(question, ++this.operations, 1, (joined) => {
          room.since = Math.max(room.since ?? 0, joined.seq);
          room.joined = true;
        });
        if (!answer?.ok) await sleep(150 + 300 * this.random());
      }
      await sleep(50);
    }
  }

  async repeat(meanMs, act) {
    while (!quiet) {
      await sleep(Math.min(60_000, -Math.log(1 - this.random()) * meanMs));
      if (quiet) return;
      await this.waitConnected();
      busy += 1;
      await act();
      busy -= 1;
    }
  }

  live() {
    this.stayJoined();
    for (let writer = 0; writer < 2; writer++) this.repeat(task.pause * 2000, () => this.send());
    this.repeat(1500, () => this.rsvp());
    this.repeat(15_000, async () => this.chat.io.engine?.transport?.ws?.close?.());
  }

  finish() {
    const joined = [...this.rooms].filter(([, room]) => room.joined).map(([name]) => name);
    this.write({ what: "finished", is_connected: this.chat.connected, joined });
    this.flush();
  }
}

const phones = task.people.map((person) => new Phone(person));
for (const phone of phones) phone.live();

setInterval(() => {
  const total = (count) => phones.reduce((sum, phone) => sum + count(phone), 0);
  const report = {
    clients: phones.length,
    whole: total((phone) => (phone.whole ? 1 : 0)),
    acked: total((phone) => phone.acked),
    delivered: total((phone) => phone.delivered),
    busy,
    positions: Object.fromEntries(
      phones.map((phone) => [
        phone.person.name,
        Object.fromEntries([...phone.rooms].map(([name, room]) => [name, room.since ?? 0])),
      ]),
    ),
  };
  console.log(JSON.stringify(report));
  for (const phone of phones) phone.flush();
}, 500);

const stop = () => {
  for (const phone of phones) phone.finish();
  for (const phone of phones) phone.chat.io._close?.();
  process.exit(0);
};
const words = createInterface({ input: process.stdin });
words.on("line", (word) => {
  if (word === "quiet") quiet = true;
  if (word === "stop") stop();
});
words.on("close", stop);

// Log in, follow an event, talk in its chat, see a recommendation. Usage: node first_message.mjs [url] [username]
import { io } from "socket.io-client";

const url = process.argv[2] ?? process.env.FLOW_URL ?? "http://127.0.0.1:8080";
const username = process.argv[3] ?? `guest${Date.now() % 1_000_000}`;
const password = "correct horse battery staple";

async function call(method, path, body, token) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${answer.code} ${answer.detail}`);
  return answer;
}

async function logIn() {
  try {
    return await call("POST", "/v1/auth/login", { username, password });
  } catch {
    return await call("POST", "/v1/auth/register", { username, password, interests: ["python", "jazz"] });
  }
}

async function anEvent(token) {
  const { items } = await call("GET", "/v1/events?limit=1", undefined, token);
  if (items.length > 0) return items[0];
  const start = new Date(Date.now() + 7 * 86_400_000).toISOString();
  const end = new Date(Date.now() + 7 * 86_400_000 + 7_200_000).toISOString();
  return await call("POST", "/v1/events", {
    title: "Jazz on the roof", description: "Bring a cushion.", category: "music", tags: ["jazz"],
    datetime: { start, end, timezone: "Europe/Berlin" },
    location: { type: "Point", coordinates: [13.405, 52.52], address: "Berlin", venue: "The roof" },
    capacity: { max: 50 }, visibility: "public",
  }, token);
}

function connect(namespace, token) {
  const socket = io(`${url}${namespace}`, { auth: { token }, transports: ["websocket"] });
  return new Promise((resolve, reject) => {
    socket.on("connect", () => resolve(socket));
    socket.on("connect_error", (error) => reject(new Error(`${namespace}: ${error.message}`)));
  });
}

async function ask(socket, name, payload) {
  const answer = await socket.timeout(5000).emitWithAck(name, payload);
  if (!answer.ok) throw new Error(`${name}: ${answer.error.code} ${answer.error.message}`);
  return answer;
}

const { accessToken: token } = await logIn();
const event = await anEvent(token);
const [events, chat] = [await connect("/events", token), await connect("/chat", token)];
await ask(events, "event:join_updates", event.id);
events.on("event:rsvp_update", (update) => console.log("event:", update.attending, "going"));
const roomId = `event:${event.id}`;
const joined = await ask(chat, "chat:join_room", roomId);
console.log(`joined ${event.title}: ${joined.messages.length} messages so far`);
const received = new Promise((resolve) => chat.on("chat:new_message", resolve));
const sent = await ask(chat, "chat:send_message", { roomId, text: "Hello from Node", clientMsgId: crypto.randomUUID() });
const message = await received;
console.log(`sent as seq ${sent.seq}, received: ${message.text}`);
await ask(events, "event:rsvp", { eventId: event.id, status: "going" });
const picks = await call("GET", "/v1/recommendations?type=ai_personalized&limit=3", undefined, token);
console.log(`recommended${picks.fallback ? " (fallback)" : ""}:`, picks.items.map((item) => item.title).join(", ") || "nothing yet");
events.disconnect();
chat.disconnect();

"use strict";
// Lists the operations of /v1/openapi.json, makes a form of each, sends it and shows the answer. Everything that came
// from a server is put in as text, never as markup.

const byId = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

let api = null;

function resolve(schema) {
  return schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : (schema ?? {});
}

// A value that fits a schema, for the person to change; `required` alone leaves optional fields out.
function example(schema, name = "", depth = 0) {
  const shape = resolve(schema);
  if ("const" in shape) return shape.const;
  if (shape.enum) return shape.enum[0];
  if (shape.anyOf) return example(shape.anyOf.find((part) => part.type !== "null") ?? {}, name, depth);
  switch (shape.type) {
    case "object": return exampleObject(shape, depth);
    case "array": return exampleArray(shape, name, depth);
    case "boolean": return true;
    case "integer": case "number": return shape.minimum ?? 1;
    default: return exampleText(shape, name);
  }
}

function exampleObject(shape, depth) {
  const entries = Object.entries(shape.properties ?? {});
  const required = shape.required ?? [];
  const chosen = entries.filter(([key]) => required.length === 0 ? depth === 0 || entries.length < 4 : required.includes(key));
  return Object.fromEntries(chosen.map(([key, part]) => [key, example(part, key, depth + 1)]));
}

function exampleArray(shape, name, depth) {
  if (shape.prefixItems) return name === "coordinates" ? [13.405, 52.52] : shape.prefixItems.map((part) => example(part, name, depth + 1));
  return shape.items && depth < 3 ? [example(shape.items, name.replace(/s$/, ""), depth + 1)] : [];
}

function exampleText(shape, name) {
  if (shape.format === "date-time") {
    const day = Date.now() + (name === "end" ? 7.1 : 7) * 86_400_000;
    return new Date(day).toISOString();
  }
  if (/Id$|^id$/.test(name)) return "0".repeat(24);
  const known = { username: "ada", password: "correct horse", email: "ada@example.org", timezone: "Europe/Berlin",
    avatar: "https://example.org/ada.png", image: "https://example.org/a.png", video: "https://example.org/a.mp4",
    currency: "EUR" };
  return known[name] ?? (shape.default || name || "text");
}

function parameterField(parameter) {
  const shape = resolve(parameter.schema);
  const choices = shape.enum ?? (shape.anyOf ?? []).flatMap((part) => part.enum ?? []);
  const input = choices.length > 0
    ? element("select", {}, ...["", ...choices].map((choice) => element("option", { value: choice, textContent: choice })))
    : element("input", { autocomplete: "off" });
  input.id = `parameter-${parameter.name}`;
  input.dataset.name = parameter.name;
  input.dataset.in = parameter.in;
  input.required = parameter.required;
  const label = element("label", { htmlFor: input.id, textContent: parameter.name + (parameter.required ? " *" : "") });
  const hint = parameter.description ?? shape.description ?? "";
  return element("div", { className: "field" }, label, input, element("small", { textContent: hint }));
}

function addressFrom(path, form) {
  const query = new URLSearchParams();
  let address = path;
  for (const input of form.querySelectorAll("[data-in]")) {
    if (input.dataset.in === "path") address = address.replace(`{${input.dataset.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.append(input.dataset.name, input.value);
  }
  return query.size > 0 ? `${address}?${query}` : address;
}

async function send(method, path, form) {
  const headers = {};
  const token = byId("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const area = form.querySelector("textarea");
  if (area) headers["Content-Type"] = "application/json";
  const began = performance.now();
  const response = await fetch(addressFrom(path, form), { method, headers, body: area ? area.value : undefined });
  const text = await response.text();
  const took = Math.round(performance.now() - began);
  show(`${response.status} ${response.statusText} in ${took} ms`, response.headers, text);
  remember(response, text);
}

function remember(response, text) {
  if (!response.ok || !(response.headers.get("content-type") ?? "").includes("json")) return;
  const token = JSON.parse(text).accessToken;
  if (token) byId("token").value = token;
}

function show(status, headers, text) {
  byId("answer").hidden = false;
  byId("status").textContent = status;
  byId("headers").textContent = headers ? [...headers].map(([name, value]) => `${name}: ${value}`).join("\n") : "";
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it came */ }
  byId("body").textContent = shown;
}

function open(method, path) {
  const operation = api.paths[path][method];
  const form = element("form", { id: "form" });
  form.append(...operation.parameters.map(parameterField));
  const content = operation.requestBody?.content["application/json"];
  if (content) {
    const value = JSON.stringify(example(content.schema), null, 2);
    form.append(element("label", { htmlFor: "request", textContent: "Body" }), element("textarea", { id: "request", value, spellcheck: false }));
  }
  const button = element("button", { textContent: "Send", id: "send" });
  form.append(element("p", {}, button));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    button.disabled = true;
    try { await send(method.toUpperCase(), path, form); } catch (error) { show(`No answer: ${error.message}`, null, ""); }
    button.disabled = false;
  });
  const title = element("h2", {}, element("span", { className: "method", textContent: `${method.toUpperCase()} ` }), path);
  const who = operation.security.length > 0 ? "Needs an access token." : "Open to everybody.";
  byId("operation").replaceChildren(title, element("p", { textContent: `${operation.summary} ${who}` }), form);
  byId("answer").hidden = true;
  for (const link of byId("operations").querySelectorAll("a")) link.toggleAttribute("aria-current", link.hash === location.hash);
}

function list() {
  for (const { name } of api.tags) {
    byId("operations").append(element("h2", { textContent: name }));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags[0] !== name) continue;
        const label = element("span", { className: "method", textContent: method.toUpperCase() });
        const link = element("a", { href: `#${operation.operationId}`, title: operation.summary }, label, path);
        byId("operations").append(link);
      }
    }
  }
}

function listProblems() {
  for (const row of api["x-errors"]) {
    const cells = [row.code, row.status, row.retryable ? "yes" : "no", row.closeCode ?? "", row.title];
    const line = element("tr", { id: `problem-${row.code}` }, ...cells.map((cell) => element("td", { textContent: cell })));
    byId("problems").append(line);
  }
}

function follow() {
  const wanted = location.hash.slice(1);
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation.operationId === wanted) return open(method, path);
    }
  }
  if (wanted.startsWith("problem-")) {
    byId(wanted)?.classList.add("wanted");
    byId(wanted)?.scrollIntoView();
  }
  if (!byId("form")) open("post", "/v1/auth/login");
}

async function start() {
  const response = await fetch("/v1/openapi.json");
  api = await response.json();
  byId("version").textContent = api.info.version;
  list();
  listProblems();
  follow();
  addEventListener("hashchange", follow);
}

start().catch((error) => { byId("operation").textContent = `The description could not be read: ${error.message}`; });

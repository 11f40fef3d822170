// The live part of a node's page: refreshes the state, follows the log, filters and pauses it.
// Everything from a log record is set as text, never as markup: it may hold what a client sent.
"use strict";

const LINES_MAX = 500;        // lines kept on the page; the oldest go first
const STATE_EVERY_MS = 1000;
const FILTER_AFTER_MS = 250;  // quiet time after a key stroke before the filter is applied
const RETRY_MS = 2000;

const byId = (id) => document.getElementById(id);
const log = byId("log"), live = byId("live"), pause = byId("pause");
const level = byId("level"), text = byId("text"), silent = byId("silent");

// ---------------------------------------------------------------- state

// Change `old` into `fresh` in place, so that a selection or a scroll position survives.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((child, i) => (before[i] ? morph(before[i], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

function clock(when) {
  const two = (number) => String(number).padStart(2, "0");
  return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
}

function markNavigation() {
  const up = new Map();
  for (const link of document.querySelectorAll("[data-peer]")) {
    up.set(link.dataset.peer, link.dataset.up);
  }
  for (const anchor of document.querySelectorAll("nav a")) {
    const known = up.get(anchor.dataset.node);
    if (known === undefined) delete anchor.dataset.up;
    else anchor.dataset.up = known;
  }
}

let silentSince = null;

async function refreshState() {
  const state = byId("state");
  try {
    const answer = await fetch("/view-logs/state", { signal: AbortSignal.timeout(3000) });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const fresh = state.cloneNode(false);
    fresh.classList.remove("stale");
    fresh.innerHTML = await answer.text();  // rendered and escaped by the node's present.py
    morph(state, fresh);
    silentSince = null;
    silent.hidden = true;
    markNavigation();
  } catch {
    silentSince ??= new Date();
    silent.textContent = `This node has not answered since ${clock(silentSince)}. `
      + "Below is what it said last.";
    silent.hidden = false;
    state.classList.add("stale");
  }
}

async function keepStateFresh() {
  if (!document.hidden) await refreshState();
  setTimeout(keepStateFresh, STATE_EVERY_MS);
}

// ---------------------------------------------------------------- log

let source = null, paused = false, waiting = [], newest = null, retry = null;

function element(kind, name, content) {
  const made = document.createElement(kind);
  made.className = name;
  made.textContent = content;
  return made;
}

function shown(value) {
  return typeof value === "string" && /^[^\s"'=]+$/.test(value) ? value : JSON.stringify(value);
}

function line(record) {
  const when = new Date(record.time * 1000);
  const fraction = String(when.getMilliseconds()).padStart(3, "0");
  const time = element("time", "", `${clock(when)}.${fraction}`);
  time.dateTime = time.title = when.toISOString();
  const message = element("span", "message", "");
  // The spaces are text, so that a copied line reads as it looks.
  message.append(element("span", "what", record.what), " ", element("span", "text", record.text));
  const fields = Object.entries(record.fields).map(([name, value]) => `${name}=${shown(value)}`);
  if (fields.length) message.append(" ", element("span", "fields", fields.join(" ")));
  const item = element("li", record.level, "");
  item.append(
    time,
    element("span", "level", record.level),
    element("span", "glyph", record.glyph),
    message,
  );
  return item;
}

function put(item) {
  if (paused) {
    waiting.push(item);
    if (waiting.length > LINES_MAX) waiting.shift();
  } else {
    log.prepend(item);
    while (log.childElementCount > LINES_MAX) log.lastElementChild.remove();
  }
  byId("empty").hidden = log.childElementCount > 0;
  showStatus();
}

function showStatus() {
  const open = source !== null && source.readyState === EventSource.OPEN;
  live.className = "chip " + (paused ? "warn" : open ? "good" : "bad");
  live.textContent = paused ? `paused, ${waiting.length} new` : open ? "live" : "not connected";
}

function follow() {
  clearTimeout(retry);
  if (source !== null) source.close();
  const query = new URLSearchParams({ follow: "1", limit: "200" });
  if (level.value) query.set("level", level.value);
  if (text.value.trim()) query.set("text", text.value.trim());
  if (newest !== null) query.set("after", newest.split(".")[1]);
  if (newest !== null) query.set("boot", newest.split(".")[0]);
  source = new EventSource(`/logs?${query}`);
  const startedAt = performance.now();
  source.onopen = showStatus;
  source.onmessage = (event) => {
    newest = event.lastEventId;
    const item = line(JSON.parse(event.data));
    // What was there before we came is not news.
    if (performance.now() - startedAt > 1000) item.classList.add("new");
    put(item);
  };
  source.addEventListener("restarted", () => {
    put(element("li", "divider", "the node restarted: its log begins anew"));
  });
  source.addEventListener("skipped", (event) => {
    put(element("li", "divider", `${event.data} lines came too fast and are not shown`));
  });
  source.onerror = () => {
    // We reconnect ourselves: a browser gives up for good after an answer such as 503.
    source.close();
    showStatus();
    clearTimeout(retry);
    retry = setTimeout(follow, RETRY_MS);
  };
  showStatus();
}

function applyFilter() {
  const query = new URLSearchParams();
  if (level.value) query.set("level", level.value);
  if (text.value.trim()) query.set("text", text.value.trim());
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  log.replaceChildren();
  waiting = [];
  newest = null;
  byId("empty").hidden = false;
  byId("empty").textContent = query.size ? "No line matches the filter." : "No line yet.";
  follow();
}

let typing = null;
text.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(applyFilter, FILTER_AFTER_MS);
});
level.addEventListener("change", applyFilter);
byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  applyFilter();
});
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  if (!paused) {
    const missed = waiting;
    waiting = [];
    missed.forEach(put);
  }
  showStatus();
});

markNavigation();
keepStateFresh();
follow();

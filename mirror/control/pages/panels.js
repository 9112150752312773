// The panels of this moment, from the sections of the stream. Rule: what is wrong comes first and says
// so in a word, not by colour alone.

import { ago, count, NONE, percent, ratio, size, span } from "/assets/format.js";
import { bar, el, empty, fill, objectLink, say, table } from "/assets/dom.js";

const byId = (id) => document.getElementById(id);
const badge = (word, className) => el("span", { class: `badge ${className}` }, word);

export function showMirror({ mirror, processes }) {
  if (!mirror || !processes) return;
  const health = byId("health");
  const isHealthy = processes.is_healthy;
  health.className = `badge ${isHealthy ? "good" : "bad"}`;
  const text = isHealthy ? "healthy" : "not healthy";
  say(health, text);
  fill(byId("version"), `rust-edge-mirror ${mirror.version}`,
    mirror.listen.length ? `, serving on ${mirror.listen.join(", ")}` : "",
    mirror.started_at ? `, keeper up for ${span(mirror.now_at - mirror.started_at)}` : "");
}

export function showAlarm({ mirror, events, trust }) {
  if (!mirror || !events || !trust) return;
  const held = trust.held ?? [];
  const quarantine = trust.quarantine ?? { count: 0, used_bytes: 0 };
  const isQuiet = events.refused_total === 0 && (trust.held_total ?? 0) === 0 && quarantine.count === 0;
  byId("alarm").hidden = isQuiet;
  if (isQuiet) return;
  const parts = [];
  if (held.length) {
    parts.push(el("p", {}, el("b", {}, count(trust.held_total)), " held back: upstream offers it and this mirror does not take it over."));
    parts.push(table("Held back", [
      { title: "object", className: "grow", cell: (row) => objectLink(row.key) },
      { title: "why", className: "grow", cell: (row) => row.reason },
      { title: "since", isNumber: true, cell: (row) => ago(row.since_at, mirror.now_at) },
    ], held.slice(0, 5)));
  }
  if (events.refused.length) {
    // Errors first: the newest among them is what an operator must see.
    const sorted = [...events.refused].sort((one, other) => (other.level === "error") - (one.level === "error"));
    parts.push(eventList(sorted, mirror.now_at));
  }
  if (quarantine.count) {
    parts.push(el("p", { class: "muted" }, `${count(quarantine.count)} in quarantine, ${size(quarantine.used_bytes)}, the oldest for ${span(quarantine.oldest_age_s)}. None of it was or will be served.`));
  }
  fill(byId("refusals"), parts);
}

export function showFills({ fills, mirror }, rates) {
  if (!fills || !mirror) return;
  if (!fills.count) {
    fill(byId("fills"), empty("Nothing is being fetched: what clients ask for is here."));
    return;
  }
  const more = fills.count - fills.shown.length;
  fill(byId("fills"),
    el("ul", { class: "fills" }, fills.shown.map((entry) => fillItem(entry, rates.get(entry.key) ?? null))),
    more > 0 || fills.waiting ? el("p", { class: "muted" }, [
      more > 0 ? `${count(more)} more. ` : "",
      fills.waiting ? `${count(fills.waiting)} of ${count(fills.count)} wait for their turn at an upstream.` : "",
    ]) : null);
}

function fillItem(entry, bytesPerSecond) {
  const { landed_bytes: landed, length_bytes: length } = entry;
  let state = "asking upstream";
  if (landed !== null) {
    state = length === null ? `${size(landed)}, length unknown` : `${size(landed)} of ${size(length)}`;
    if (length !== null && landed >= length) state = `${size(length)}, being checked`;
  }
  const isMoving = bytesPerSecond !== null && bytesPerSecond > 0 && length !== null && landed < length;
  const left = isMoving ? `, ${span((length - landed) / bytesPerSecond)} left` : "";
  const speed = isMoving ? `${size(bytesPerSecond)}/s${left}` : `for ${span(entry.age_s)}`;
  return el("li", {},
    el("div", { class: "line" }, objectLink(entry.key, pathOf(entry.key)), el("span", { class: "number" }, percent(length ? landed / length : null))),
    length === null ? el("progress", { "aria-label": `Filling ${entry.key}` }) : bar(`Filling ${entry.key}`, landed, length),
    el("div", { class: "line muted" }, el("span", {}, state), el("span", { class: "number" }, speed)));
}

export function showUpstreams({ upstreams, mirror }, accounts) {
  if (!upstreams || !mirror) return;
  const rows = upstreams.flatMap((pool) => pool.urls.map((health) => ({ pool: pool.name, health, account: accounts.get(health.url) })));
  fill(byId("upstreams"), table("Upstreams, in order of preference", [
    { title: "upstream", cell: ({ pool }) => pool },
    { title: "url", className: "grow", cell: ({ health }) => el("span", { class: "key", title: health.url }, health.url.replace(/^https?:\/\//, "")) },
    { title: "state", cell: ({ health }) => upstreamState(health) },
    { title: "requests", isNumber: true, hint: "in the chosen span", cell: ({ account }) => count(account?.requests ?? 0) },
    { title: "fetched", isNumber: true, hint: "content, in the chosen span", cell: ({ account }) => size(account?.content_bytes ?? 0) },
    { title: "429", isNumber: true, hint: "upstream asked for fewer requests", cell: ({ account }) => count(account?.throttled ?? 0) },
    { title: "failed", isNumber: true, cell: ({ account }) => count(account?.failed ?? 0) },
    { title: "last failure", isNumber: true, cell: ({ health }) => lastFailure(health, mirror.now_at) },
  ], rows));
}

function upstreamState(health) {
  if (health.is_left_alone) return badge(`left alone ${span(health.rests_for_s)}`, "warn");
  if (health.circuit === "open") return badge(`circuit open, tried again in ${span(health.rests_for_s)}`, "bad");
  if (health.circuit === "half-open") return badge("circuit half-open", "bad");
  if (!health.is_failing) return health.is_preferred === false ? badge("ok again, on trial", "warn") : badge("ok", "good");
  return badge(health.rests_for_s ? `failing, asked last for ${span(health.rests_for_s)}` : "failing", "bad");
}

function lastFailure(health, nowAt) {
  if (!health.last_error) return { text: NONE, title: "none since the keeper started" };
  return { text: ago(health.last_error_at, nowAt), title: health.last_error };
}

export function showStore({ store, traffic, trust, mirror }) {
  if (!store || !mirror) return;
  const { used_bytes: used, budget_bytes: budget, disk_free_bytes: free } = store;
  const totals = traffic?.totals;
  const objects = (name) => (totals ? `${count(totals[`${name}_blobs`] ?? 0)} objects, ${size(totals[`${name}_bytes`] ?? 0)}` : NONE);
  const isTight = used !== null && free !== null && free < budget - used;
  const facts = [
    ["budget left", used === null ? NONE : size(Math.max(0, budget - used))],
    ["disk free", free === null ? NONE : size(free)],
    ["published", objects("published")],
    ["evicted", objects("evicted")],
    ["in quarantine", trust?.quarantine ? `${count(trust.quarantine.count)} objects, ${size(trust.quarantine.used_bytes)}` : NONE],
  ];
  fill(byId("store"),
    el("div", { class: "line" }, el("span", {}, el("b", {}, size(used)), ` of ${size(budget)}`), el("span", { class: "number" }, used === null ? NONE : ratio(used, budget))),
    bar("Store used", used ?? 0, budget),
    isTight ? el("p", { class: "notice warn" }, "The disk has less room than the budget promises: lower store.budget or make room.") : null,
    list(facts));
}

export const list = (facts) => el("dl", { class: "facts" }, facts.map(([name, value, title]) => [el("dt", {}, name), el("dd", { title }, value)]));

export const PROOFS = {
  "signed-generation": "signature of the release key",
  generation: "its .sha256 only",
  signature: "a detached signature and its digest",
  manifest: "digest in the signed manifest",
  index: "digest in the crate index",
  sha256: "the .sha256 beside it",
  key: "the pinned fingerprints",
  agrees: "it agrees with the file that it vouches for",
  parsed: "nobody; its form was checked",
};

export function showChannels({ trust, mirror }) {
  if (!trust || !mirror) return;
  const channels = trust.channels ?? [];
  const policy = trust.policy;
  fill(byId("channels"),
    channels.length ? table("Channels", [
      { title: "channel", cell: (row) => objectLink(`releases:/dist/channel-rust-${row.name}.toml`, row.name) },
      { title: "date", isNumber: true, cell: (row) => row.date },
      { title: "age", isNumber: true, cell: (row) => ({ text: span(row.age_s), className: row.is_frozen ? "bad-text" : null }) },
      { title: "vouched by", cell: (row) => (row.is_frozen ? badge("frozen", "bad") : shortProof(row.proof)) },
      { title: "confirmed", isNumber: true, cell: (row) => ago(row.confirmed_at, mirror.now_at) },
    ], channels) : empty("No channel was asked for yet."),
    list([
      ["channel manifests need", policy.channel_manifest],
      ["archives need", policy.archive],
      ["parts before the whole is checked", policy.unverified_ranges === "stream" ? "streamed" : "wait"],
    ]));
}

const shortProof = (proof) => ({ text: { "signed-generation": "signature", generation: "digest" }[proof] ?? NONE, title: PROOFS[proof] ?? "not stored at this moment" });

export function showProcesses({ processes }, cpu) {
  if (!processes) return;
  fill(byId("processes"), table("Processes", [
    { title: "process", cell: (row) => row.name },
    { title: "state", cell: (row) => badge(row.is_alive ? "alive" : "away", row.is_alive ? "good" : "bad") },
    { title: "pid", isNumber: true, cell: (row) => row.pid || NONE },
    { title: "CPU", isNumber: true, hint: "of one core", cell: (row) => percent(cpu.get(row.pid) ?? null) },
    { title: "memory", isNumber: true, hint: "resident", cell: (row) => size(row.resident_bytes) },
    { title: "restarts", isNumber: true, cell: (row) => count(row.restarts_total) },
  ], processes.shown));
}

export function showEvents({ events, mirror }) {
  if (!events || !mirror) return;
  fill(byId("events"), events.shown.length ? eventList(events.shown, mirror.now_at) : empty("No event yet."));
}

const FIXED = new Set(["time", "level", "event", "process", "pid", "key", "hint"]);
const LEVELS = { info: "plain", warning: "warn", error: "bad" };

export function eventList(events, nowAt) {
  return el("div", { class: "scroll tall", "data-label": "Events" }, el("ul", { class: "events" }, events.map((event) => {
    const rest = Object.entries(event).filter(([name, value]) => !FIXED.has(name) && value !== "" && value !== null);
    return el("li", {},
      el("div", { class: "line" },
        el("span", {}, badge(String(event.level), LEVELS[event.level] ?? "plain"), " ", el("b", {}, String(event.event)), " ", el("span", { class: "muted" }, String(event.process))),
        el("time", { class: "number muted", datetime: event.time, title: event.time }, ago(Date.parse(event.time) / 1000, nowAt))),
      event.key ? objectLink(String(event.key)) : null,
      rest.length ? el("div", { class: "muted small" }, rest.map(([name, value]) => field(name, value))) : null,
      event.hint ? el("div", { class: "hint" }, String(event.hint)) : null);
  })));
}

const SHOWN_CHARACTERS = 400;

// A digest is told by its beginning, and what is long as well; the whole is in the title.
function field(name, value) {
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  const digests = text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…");
  const short = digests.length > SHOWN_CHARACTERS ? `${digests.slice(0, SHOWN_CHARACTERS)}…` : digests;
  const shown = name.endsWith("_s") && typeof value === "number" ? span(value) : short;
  return el("span", { title: shown === text ? null : text }, `${name.replace(/_s$/, "")}: ${shown}`);
}

export const pathOf = (key) => key.slice(key.indexOf(":") + 1);

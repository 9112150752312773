// One object explained. The key comes from the address, which anybody may have written: it is only
// ever shown as text and sent to /api/object.

import { ago, count, duration, NONE, percent, size, span } from "/assets/format.js";
import { bar, el, empty, fill, markScrollers, objectLink, table } from "/assets/dom.js";
import { eventList, list, PROOFS } from "/assets/panels.js";

const RENEW_WHILE_FILLING_MS = 1000;
const byId = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search).get("key") ?? "";

const VERDICTS = { hit: "good", collapsed: "good", revalidated: "warn", miss: "warn", negative: "plain" };
const FILES = {
  intact: "here and attested",
  missing: "gone: it was evicted",
  changed: "not the file that was attested: it is hashed before it is served",
};
const NEEDS = {
  signature: "a signature by a pinned key",
  digest: "a digest that another document states",
  none: "nothing: nobody upstream vouches for such files",
};

async function load() {
  byId("key").value = asked;
  if (!asked) {
    byId("name").textContent = "Explain an object";
    trouble("Name an object: its key, its path or its URL.");
    return;
  }
  byId("name").textContent = asked;
  document.title = `${asked} – rust-edge-mirror`;
  try {
    const response = await fetch(`/api/object?key=${encodeURIComponent(asked)}`, { cache: "no-store" });
    const object = await response.json();
    if (!response.ok) trouble(object.trouble);
    else show(object);
  } catch {
    trouble("The mirror did not answer. Reload the page to ask again.");
  } finally {
    byId("main").setAttribute("aria-busy", "false");
  }
}

function trouble(sentence) {
  byId("trouble").textContent = sentence;
  byId("trouble").hidden = false;
}

function panel(title, className, ...children) {
  return el("section", { class: `panel ${className}`.trim(), "aria-label": title }, el("h2", { class: "name" }, title), children);
}

function show(object) {
  byId("trouble").hidden = true;
  byId("name").textContent = object.key;
  const now = object.now_at;
  fill(byId("facts"), el("div", { class: "object" },
    verdict(object),
    object.quarantine.length ? quarantine(object.quarantine, now) : null,
    stored(object, now), trust(object, now), usage(object, now),
    panel("Events about it", "", object.events.length ? eventList(object.events, now) : empty("None is on record.")),
    requests(object, now)));
  markScrollers();
  if (object.flight) setTimeout(load, RENEW_WHILE_FILLING_MS);
}

function verdict({ verdict: { word, sentence, cache_status: status }, flight }) {
  return panel("A request now", "full",
    el("p", { class: "verdict" }, el("span", { class: `badge ${VERDICTS[word] ?? "plain"}` }, word), sentence),
    el("p", { class: "muted" }, "Cache-Status would say ", el("code", {}, status)),
    flight ? filling(flight) : null);
}

function filling(flight) {
  const { landed_bytes: landed, length_bytes: length } = flight;
  const text = length === null ? `asking upstream, for ${span(flight.age_s)}` : `${size(landed)} of ${size(length)}, ${percent(length ? landed / length : null)}`;
  return el("div", {}, el("p", {}, `A fill is under way: ${text}`),
    length === null ? el("progress", { "aria-label": "Filling" }) : bar("Filling", landed, length));
}

function stored({ stored: entry, kind, tempo, upstream, path, class: className }, now) {
  const what = [["kind", `${kind}, counted as ${className}`], ["upstream", `${upstream}, ${path}`]];
  if (!entry) return panel("Stored", "", empty("It is not stored."), list(what));
  if (entry.status !== 200) {
    return panel("Stored", "", el("p", {}, "Only its absence is remembered: upstream said 404."),
      list([...what, ["said", ago(entry.fetched_at, now)], ["remembered", freshness(entry, tempo, now)]]));
  }
  return panel("Stored", "", list([
    ["size", `${size(entry.length_bytes)} (${exact(entry.length_bytes)} bytes)`],
    ["file", FILES[entry.file] ?? NONE],
    ["fresh", freshness(entry, tempo, now)],
    ["fetched", moment(entry.fetched_at, now)],
    ["confirmed by upstream", moment(entry.confirmed_at, now)],
    ["media type", entry.media_type],
    ["last modified", entry.last_modified || NONE],
    ...what,
  ]));
}

const exact = (bytes) => String(bytes).replace(/\B(?=(\d{3})+$)/g, " ");
const moment = (at, now) => (at ? `${ago(at, now)}, ${new Date(at * 1000).toLocaleString()}` : NONE);

function freshness(entry, tempo, now) {
  if (entry.fresh_until_at === null) return "for ever: its bytes never change";
  if (entry.is_fresh) return `for another ${span(entry.fresh_until_at - now)}`;
  return entry.fresh_until_at > 0 ? `no longer, since ${span(now - entry.fresh_until_at)}` : "no: something disagreed with it";
}

function trust({ stored: entry, required, listing }, now) {
  const facts = [["it needs", NEEDS[required] ?? required]];
  if (entry && entry.status === 200) {
    facts.push(["vouched for by", PROOFS[entry.proof] ?? entry.proof],
      ["in particular", entry.voucher ? voucher(entry.voucher) : NONE],
      ["compared", moment(entry.verified_at, now)],
      ["sha256", el("code", {}, entry.digest)],
      ["upstream's tag", entry.upstream_etag || NONE]);
    if (entry.upstream_version) facts.push(["version in the bucket", entry.upstream_version]);
  }
  if (listing) facts.push(["listed by", objectLink(listing.key)], ["index confirmed", moment(listing.confirmed_at, now)]);
  return panel("Trust", "", list(facts));
}

// "<key>@<digest of what it named then>", or a fingerprint.
function voucher(text) {
  const at = text.lastIndexOf("@");
  if (at < 0 || !text.includes(":")) return el("code", {}, text);
  return el("span", {}, objectLink(text.slice(0, at)), " as ", el("code", {}, `${text.slice(at + 1, at + 17)}…`));
}

function quarantine(reasons, now) {
  return panel("In quarantine", "full alarm", table("In quarantine", [
    { title: "taken", cell: (row) => ago(row.taken_at, now) },
    { title: "why", className: "wrap", cell: (row) => row.reason },
    { title: "expected", cell: (row) => el("code", { title: row.expected }, row.expected.slice(0, 16) || NONE) },
    { title: "got", cell: (row) => el("code", { title: row.got }, row.got.slice(0, 16) || NONE) },
    { title: "size", isNumber: true, cell: (row) => size(row.size_bytes) },
  ], reasons));
}

function usage({ top }) {
  if (!top) return panel("Asked for", "", empty("In the last day it was not among the most requested objects."));
  return panel("Asked for", "", list([
    ["requests in the last day", `${count(top.requests)}${top.error ? `, at most ${count(top.error)} more` : ""}`],
    ["content sent", size(top.content_bytes)],
  ]));
}

function requests({ is_logged: isLogged, requests: lines }, now) {
  const title = "Who asked";
  if (!isLogged) return panel(title, "full", empty("No access log is written: set [log] access to see the latest requests here."));
  if (!lines.length) return panel(title, "full", empty("No request for it is in the newest part of the access log."));
  return panel(title, "full", table("The latest requests", [
    { title: "when", cell: (row) => ({ text: ago(Date.parse(row.date_time) / 1000, now), title: row.date_time }) },
    { title: "group", cell: (row) => row.group },
    { title: "user agent", className: "grow", cell: (row) => row.useragent },
    { title: "status", isNumber: true, cell: (row) => `${row.status}${row.complete ? "" : ", cut"}` },
    { title: "outcome", cell: (row) => ({ text: row.outcome, title: row.cache_status }) },
    { title: "sent", isNumber: true, cell: (row) => size(row.bytes) },
    { title: "took", isNumber: true, cell: (row) => duration(row.duration_ms / 1000) },
  ], lines), el("p", { class: "muted" }, "Addresses are in the log only."));
}

load();

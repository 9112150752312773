// The dashboard: the stream fills the panels of this moment, the ledger those of the chosen span.

import { count, duration, NONE, perSecond, rate, ratio, size } from "/assets/format.js";
import { el, fill, markScrollers, say, tile } from "/assets/dom.js";
import { follow } from "/assets/stream.js";
import { makeCharts, showSpan, SPANS } from "/assets/span.js";
import { showAlarm, showChannels, showEvents, showFills, showMirror, showProcesses, showStore, showUpstreams } from "/assets/panels.js";

const WINDOW_S = 10; // what "now" means for rates: one second would flicker
const LATENCY_WINDOW_S = 60;
const RENEW_S = 30; // the ledger's figures; they are written by the minute
const byId = (id) => document.getElementById(id);

const sections = {};
const samples = []; // {at, traffic} of the last minute
const fillsBefore = new Map(); // key -> {at, landed, speed}
const cpuBefore = new Map(); // pid -> {at, cpuS, share}
let accounts = new Map();
let chosen = SPANS[0];
const charts = makeCharts();

function onSections(news) {
  Object.assign(sections, news);
  // "mirror" comes each second; the sums only when they have moved.
  if ((news.mirror || !samples.length) && sections.traffic && !sections.traffic.trouble) sample();
  if (news.fills) measureFills();
  if (news.processes) measureProcesses();
  requestAnimationFrame(show);
}

function sample() {
  const at = Date.now() / 1000;
  samples.push({ at, traffic: sections.traffic });
  while (samples.length > 2 && samples[0].at < at - LATENCY_WINDOW_S) samples.shift();
}

function show() {
  showMirror(sections);
  showAlarm(sections);
  showNow();
  showFills(sections, new Map([...fillsBefore].map(([key, { speed }]) => [key, speed])));
  showUpstreams(sections, accounts);
  showStore(sections);
  showChannels(sections);
  showProcesses(sections, new Map([...cpuBefore].map(([pid, { share }]) => [pid, share])));
  showEvents(sections);
  markScrollers();
}

// Differences of sums between the newest sample and the one `seconds` before it.
function since(seconds) {
  const last = samples.at(-1);
  if (samples.length < 2) return null;
  let first = samples.find((each) => each.at >= last.at - seconds - 0.5);
  if (first === last) first = samples.at(-2); // asked for now and then only: there is no stream
  return { first: first.traffic, last: last.traffic, seconds: Math.max(1, last.at - first.at) };
}

function showNow() {
  const { traffic, fills, mirror } = sections;
  if (!mirror || !traffic) return;
  if (traffic.trouble) {
    fill(byId("now"), tile("Traffic", NONE, traffic.trouble, "warn"), tile("Fills", count(fills?.count ?? 0), `${count(fills?.waiting ?? 0)} waiting`));
    return;
  }
  const window = since(WINDOW_S);
  const moved = (name) => (window ? (window.last.total[name] - window.first.total[name]) / window.seconds : 0);
  const sent = moved("served_bytes");
  const fetched = moved("fetched_bytes");
  const latency = quantiles(since(LATENCY_WINDOW_S));
  fill(byId("now"),
    tile("Sending now", rate(sent), `${perSecond(moved("requests"))}`),
    tile("Fetching now", rate(fetched), `${perSecond(moved("upstream_requests"))}`),
    tile("Hits now", hitsNow(window), "of answered requests"),
    tile("Time of a hit", latency ? `≤ ${duration(latency.half)}` : "–", latency ? `99 % within ${duration(latency.most)}` : "no hit in this minute"),
    tile("Fills", count(fills?.count ?? 0), `${count(fills?.waiting ?? 0)} waiting`),
    tile("Sent in all", size(traffic.total.served_bytes), `saved ${size(traffic.total.saved_bytes)}`));
}

const LOCAL = ["hit", "stale", "revalidated", "negative"];

function hitsNow(window) {
  if (!window) return "–";
  const moved = Object.entries(window.last.total.outcomes).map(([name, value]) => [name, value - window.first.total.outcomes[name]]);
  const total = (isOfThem) => moved.filter(([name]) => isOfThem(name)).reduce((sum, [, value]) => sum + value, 0);
  return ratio(total((name) => LOCAL.includes(name)), total((name) => name !== "refused" && name !== "failed"));
}

// Upper bounds of the classes that the middle and the slowest hundredth of hits fall into.
function quantiles(window) {
  if (!window) return null;
  const counts = window.last.latency.paths.hit.map((value, at) => value - window.first.latency.paths.hit[at]);
  const total = counts.reduce((sum, value) => sum + value, 0);
  if (!total) return null;
  const bound = (share) => {
    let left = share * total;
    const at = counts.findIndex((value) => (left -= value) <= 0);
    return window.last.latency.bounds_s[at] ?? window.last.latency.bounds_s.at(-1);
  };
  return { half: bound(0.5), most: bound(0.99) };
}

function measureFills() {
  const at = Date.now() / 1000;
  const present = new Set();
  for (const { key, landed_bytes: landed } of sections.fills.shown) {
    present.add(key);
    const before = fillsBefore.get(key);
    if (landed === null || (before && before.landed === null) || !before) {
      fillsBefore.set(key, { at, landed, speed: null });
    } else if (at - before.at >= 0.5) {
      const speed = (landed - before.landed) / (at - before.at);
      fillsBefore.set(key, { at, landed, speed: before.speed === null ? speed : 0.6 * before.speed + 0.4 * speed });
    }
  }
  for (const key of fillsBefore.keys()) if (!present.has(key)) fillsBefore.delete(key);
}

function measureProcesses() {
  const at = Date.now() / 1000;
  const shown = sections.processes.shown;
  for (const { pid, cpu_s: cpuS } of shown) {
    const before = cpuBefore.get(pid);
    if (cpuS === null) cpuBefore.delete(pid);
    else if (!before) cpuBefore.set(pid, { at, cpuS, share: null });
    else if (at - before.at >= 1.8) cpuBefore.set(pid, { at, cpuS, share: Math.max(0, (cpuS - before.cpuS) / (at - before.at)) });
  }
  for (const pid of cpuBefore.keys()) if (!shown.some((each) => each.pid === pid)) cpuBefore.delete(pid);
}

function onState({ word, seconds }) {
  const stream = byId("stream");
  stream.className = `dot ${word}`;
  say(stream, word);
  byId("lost").hidden = word !== "lost";
  // The sentence is an alert, and stays the same; the seconds that run are for the eye.
  say(byId("lost-word"), word === "lost" ? "The live figures stopped: the mirror is away, or too many pages watch. What is shown may be old." : "");
  say(byId("lost-when"), word === "lost" ? `Trying again ${seconds > 0 ? `in ${seconds} s` : "now"}.` : "");
  document.body.classList.toggle("old", word === "lost");
}

async function renew() {
  const asked = chosen;
  try {
    const response = await fetch(`/api/history?since=-${asked.seconds}&step=${asked.step}`, { cache: "no-store" });
    const history = await response.json();
    if (asked !== chosen) return; // another one was chosen meanwhile
    if (!response.ok) {
      say(byId("span-note"), history.trouble);
      return;
    }
    accounts = new Map(history.upstreams.map((each) => [each.url, each]));
    showSpan(charts, history, asked, sections.store?.budget_bytes ?? 0);
    if (sections.upstreams) showUpstreams(sections, accounts);
    markScrollers();
  } catch {
    say(byId("span-note"), "The ledger's figures could not be had; they will be asked for again.");
  }
}

function choose(span) {
  chosen = span;
  for (const button of byId("spans").children) button.setAttribute("aria-pressed", String(button.dataset.seconds === String(span.seconds)));
  renew();
}

for (const span of SPANS) {
  const button = el("button", { type: "button", "aria-pressed": "false", "data-seconds": span.seconds }, span.name);
  button.addEventListener("click", () => choose(span));
  byId("spans").append(button);
}
choose(SPANS[0]);
setInterval(() => {
  if (!document.hidden) renew();
}, RENEW_S * 1000);
follow({ onSections, onState });

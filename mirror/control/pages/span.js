// Traffic and savings of a chosen time span, from /api/history.

import { count, money, NONE, percent, rate, ratio, size, time } from "/assets/format.js";
import { el, empty, fill, objectLink, say, table, tile } from "/assets/dom.js";
import { Chart, isAvailable } from "/assets/charts.js";
import { pathOf } from "/assets/panels.js";

export const SPANS = [
  { name: "1 hour", seconds: 3600, step: 60 },
  { name: "24 hours", seconds: 86400, step: 600 },
  { name: "7 days", seconds: 7 * 86400, step: 3600 },
  { name: "30 days", seconds: 30 * 86400, step: 14400 },
  { name: "1 year", seconds: 365 * 86400, step: 86400 },
];
const NAMES = ["release", "rustup", "crate", "index"];
const byId = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power); // round numbers of bytes
const trim = (text) => text.replace(/\.0+ /, " ");
// From a little below the lowest value up to 100 %: what lies between 90 and 99 % is what matters.
const fromLowest = (_plot, low) => [low === null || low < 0.1 ? 0 : Math.floor((low - 0.02) * 20) / 20, 1];

export function makeCharts() {
  byId("chartless").hidden = isAvailable();
  if (!isAvailable()) for (const details of document.querySelectorAll("details.as-table")) details.open = true;
  return {
    bytes: new Chart(byId("bytes-chart"), byId("bytes-legend"), {
      x: "time", format: (y) => trim(rate(y)), steps: POWERS,
      series: [{ label: "sent", color: "--sent", isArea: true }, { label: "fetched", color: "--fetched", isArea: true }],
    }),
    ratios: new Chart(byId("ratio-chart"), byId("ratio-legend"), {
      x: "time", format: percent, range: fromLowest, axisWidth: 60,
      series: NAMES.map((name) => ({ label: name, color: `--class-${name}` })),
    }),
    curve: new Chart(byId("curve-chart"), byId("curve-legend"), {
      x: { format: (bytes) => trim(size(bytes)) }, format: percent, range: fromLowest, axisWidth: 60,
      series: [{ label: "of bytes", color: "--sent" }, { label: "of requests", color: "--class-crate" }],
    }),
  };
}

export function showSpan(charts, history, chosen, budgetBytes) {
  const sums = sumsOf(history.classes);
  showSums(history, sums, chosen);
  showBytes(charts, history);
  showRatios(charts, history);
  showClasses(sums, history.own_answers);
  showCurve(charts, history.curve, budgetBytes);
  showObjects(history.objects);
  showGroups(history.groups);
  say(byId("span-note"), noteOf(history));
}

function noteOf(history) {
  if (history.first_at === null) return "Nothing was counted yet.";
  return history.first_at > history.since_at ? `Counting began ${time(history.first_at, 60)}.` : "";
}

function sumsOf(classes) {
  const rows = Object.entries(classes).map(([name, columns]) => ({ name, ...Object.fromEntries(Object.entries(columns).map(([column, values]) => [column, sum(values)])) }));
  const total = { name: "total", className: "total" };
  for (const column of ["requests", "answered", "local", "served_bytes", "fetched_bytes"]) total[column] = sum(rows.map((row) => row[column]));
  return { rows, total };
}

function showSums(history, { total }, chosen) {
  const saved = total.served_bytes - total.fetched_bytes;
  const outcomes = history.outcomes;
  const tiles = [
    tile("Saved", size(saved), total.served_bytes ? `${percent(saved / total.served_bytes)} of what was sent` : "nothing was sent", saved < 0 ? "warn" : "good"),
    tile("Sent to clients", size(total.served_bytes), `${count(total.requests)} requests`),
    tile("Fetched from upstream", size(total.fetched_bytes), `${count(sum(history.upstreams.map((each) => each.requests)))} requests`),
    tile("Hit ratio", ratio(total.local, total.answered), `${count(outcomes.collapsed)} joined a fill`),
    tile("Not answered", count(outcomes.failed + outcomes.refused), `${count(outcomes.failed)} failed, ${count(outcomes.refused)} refused`, outcomes.failed ? "warn" : null),
    ...moneyTiles(history.money),
  ];
  fill(byId("sums"), tiles);
  byId("sums").setAttribute("aria-label", `Sums of ${chosen.name}`);
}

function moneyTiles(costs) {
  if (!costs?.currency) return [tile("Cost avoided", NONE, costs?.trouble ?? "no prices are configured")];
  const projected = costs.month_projected_micro;
  return [
    tile("Cost avoided", money(costs.avoided_micro, costs.currency), costs.is_example ? "by the example's prices" : "by your prices"),
    tile("This month", money(costs.month_avoided_micro, costs.currency), projected === null ? "too early for a projection" : `${money(projected, costs.currency)} by its end`),
  ];
}

function showBytes(charts, history) {
  const { at, step_s: stepS, until_at: until } = history;
  const perPoint = (column) => at.map((begin, index) => {
    const seconds = Math.min(stepS, Math.max(1, until - begin));
    return sum(Object.values(history.classes).map((columns) => columns[column][index])) / seconds;
  });
  const served = perPoint("served_bytes");
  const fetched = perPoint("fetched_bytes");
  const peak = Math.max(0, ...served);
  charts.bytes.set([at, served, fetched], { stepS, summary: `Content sent and fetched over time; sent at most ${rate(peak)}` });
  fill(byId("bytes-table").querySelector(".scroll"), tableOf("Content sent and fetched", [
    { title: "from", cell: (index) => time(at[index], stepS) },
    { title: "sent", isNumber: true, cell: (index) => rate(served[index]) },
    { title: "fetched", isNumber: true, cell: (index) => rate(fetched[index]) },
  ], newest(at, (index) => served[index] || fetched[index])));
}

function showRatios(charts, history) {
  const { at, step_s: stepS, classes } = history;
  const lines = NAMES.map((name) => at.map((_, index) => (classes[name].answered[index] ? classes[name].local[index] / classes[name].answered[index] : null)));
  charts.ratios.set([at, ...lines], { stepS, summary: "Share of requests that needed no content from upstream, by class over time" });
  fill(byId("ratio-table").querySelector(".scroll"), tableOf("Hit ratio by class", [
    { title: "from", cell: (index) => time(at[index], stepS) },
    ...NAMES.map((name, which) => ({ title: name, isNumber: true, cell: (index) => percent(lines[which][index]) })),
  ], newest(at, (index) => lines.some((line) => line[index] !== null))));
}

// Newest first, without the times in which nothing happened.
const newest = (at, isOfInterest) => at.map((_, index) => index).filter(isOfInterest).reverse();
const tableOf = (caption, columns, rows) => (rows.length ? table(caption, columns, rows) : empty("No traffic in this span."));

function showClasses({ rows, total }, own) {
  const saved = (row) => row.served_bytes - row.fetched_bytes;
  fill(byId("classes"), table("Traffic by class", [
    { title: "class", cell: (row) => row.name },
    { title: "requests", isNumber: true, cell: (row) => count(row.requests) },
    { title: "hit ratio", isNumber: true, hint: "requests that needed no content from upstream", cell: (row) => ratio(row.local, row.answered) },
    { title: el("span", { class: "hidden" }, "hit ratio as a bar"), className: "meter", cell: (row) => el("progress", { "aria-label": `Hit ratio of ${row.name}`, value: row.answered ? row.local / row.answered : 0, max: 1 }) },
    { title: "sent", isNumber: true, cell: (row) => size(row.served_bytes) },
    { title: "fetched", isNumber: true, cell: (row) => size(row.fetched_bytes) },
    { title: "saved", isNumber: true, cell: (row) => ({ text: size(saved(row)), className: saved(row) < 0 ? "warn-text" : null }) },
    { title: "of what was sent", isNumber: true, hint: "saved, as a share of what was sent", cell: (row) => ratio(saved(row), row.served_bytes) },
  ], [...rows, total]),
  own.requests ? el("p", { class: "muted" }, `Not counted: ${count(own.requests)} requests for what is not upstream's, such as health checks, the front page and refused requests (${size(own.served_bytes)}).`) : null);
}

function showCurve(charts, curve, budgetBytes) {
  const figure = byId("curve-table");
  if (!curve.length) {
    byId("curve-chart").hidden = true;
    figure.hidden = true;
    byId("curve-note").textContent = "Too few requests were seen to tell what another size would do.";
    return;
  }
  byId("curve-chart").hidden = !isAvailable();
  figure.hidden = false;
  const sizes = curve.map((point) => point.store_bytes);
  byId("curve-note").textContent = `The line marks the store's budget, ${size(budgetBytes)}. Expected shares from disk, from sampled requests.`;
  charts.curve.set([sizes, curve.map((point) => point.byte_hit_ratio), curve.map((point) => point.request_hit_ratio)], {
    mark: budgetBytes, summary: `Expected hit ratio by store size, from ${size(sizes[0])} to ${size(sizes.at(-1))}`,
  });
  fill(figure.querySelector(".scroll"), table("Expected hit ratio by store size", [
    { title: "store", isNumber: true, cell: (point) => size(point.store_bytes) },
    { title: "of bytes", isNumber: true, cell: (point) => percent(point.byte_hit_ratio) },
    { title: "of requests", isNumber: true, cell: (point) => percent(point.request_hit_ratio) },
  ], curve));
}

function showObjects(objects) {
  fill(byId("objects"), objects.length ? table("Top objects", [
    { title: "object", className: "grow", cell: (row) => objectLink(row.key, pathOf(row.key)) },
    { title: "from", cell: (row) => ({ text: row.key.slice(0, row.key.indexOf(":")), className: "muted" }) },
    { title: "requests", isNumber: true, cell: (row) => ({ text: count(row.requests), title: row.error ? `at least; at most ${count(row.error)} more` : null }) },
    { title: "sent", isNumber: true, cell: (row) => size(row.content_bytes) },
  ], objects.slice(0, 12)) : empty("None on record for this span; the record is written once a minute."));
}

function showGroups(groups) {
  const total = sum(groups.map((group) => group.served_bytes));
  fill(byId("groups"), groups.length ? table("Client groups", [
    { title: "group", className: "grow", cell: (row) => row.name },
    { title: "requests", isNumber: true, cell: (row) => count(row.requests) },
    { title: "sent", isNumber: true, cell: (row) => size(row.served_bytes) },
    { title: "share", isNumber: true, cell: (row) => ratio(row.served_bytes, total) },
    { title: "hit ratio", isNumber: true, cell: (row) => ratio(row.local, row.answered) },
  ], groups.slice(0, 12)) : empty("No client in this span."));
}

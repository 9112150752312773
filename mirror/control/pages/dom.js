// Elements from values. Rule: every text becomes a text node, so nothing that a request or an upstream
// said can become markup. What did not change is left alone: a selection stays, a screen reader is not
// told twice, focus is not lost.

export function el(name, fields = {}, ...children) {
  const element = document.createElement(name);
  for (const [field, value] of Object.entries(fields)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(field, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(node));
  return element;
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

// Make `parent` look like `children`, touching only what differs.
export function fill(parent, ...children) {
  const target = document.createElement(parent.tagName);
  target.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(node));
  merge(parent, target);
}

function merge(old, wanted) {
  const before = [...old.childNodes];
  const after = [...wanted.childNodes];
  after.forEach((child, at) => {
    const present = before[at];
    if (present === undefined) {
      old.append(child);
    } else if (present.nodeType === Node.TEXT_NODE && child.nodeType === Node.TEXT_NODE) {
      if (present.data !== child.data) present.data = child.data;
    } else if (present.nodeName === child.nodeName && present.nodeType === Node.ELEMENT_NODE) {
      fields(present, child);
      merge(present, child);
    } else {
      present.replaceWith(child);
    }
  });
  before.slice(after.length).forEach((child) => child.remove());
}

const SCROLLER = ["tabindex", "role", "aria-label"]; // set by markScrollers alone

function fields(old, wanted) {
  for (const { name } of [...old.attributes]) {
    if (!(old.classList.contains("scroll") && SCROLLER.includes(name)) && !wanted.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

// `columns`: {title, isNumber, cell(row), hint}; a cell is text, a node, or {text, title, className}.
export function table(caption, columns, rows) {
  const head = columns.map((column) =>
    el("th", { scope: "col", class: classesOf(column), title: column.hint }, column.title));
  const body = rows.map((row) =>
    el("tr", { class: row.className }, columns.map((column, at) => cell(column, row, at))));
  return el("div", { class: "scroll" },
    el("table", {}, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

function cell(column, row, at) {
  const content = column.cell(row);
  const isPlain = content instanceof Node || typeof content !== "object" || content === null;
  const { text, title, className } = isPlain ? { text: content } : content;
  return el(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: classesOf(column, className), title }, text);
}

const classesOf = ({ isNumber, className }, more) => [isNumber ? "number" : null, className, more].filter(Boolean).join(" ") || null;

// A table that is wider than its place can be scrolled by keyboard; one that fits is no stop for Tab.
export function markScrollers() {
  for (const holder of document.querySelectorAll(".scroll")) {
    const isWide = holder.scrollWidth > holder.clientWidth + 1 || holder.scrollHeight > holder.clientHeight + 1;
    if (isWide === holder.hasAttribute("tabindex")) continue;
    for (const name of SCROLLER) holder.removeAttribute(name);
    if (!isWide) continue;
    holder.tabIndex = 0;
    holder.setAttribute("role", "region");
    holder.setAttribute("aria-label", holder.dataset.label ?? holder.querySelector("caption")?.textContent ?? "Table");
  }
}

// Set a text where it differs: a live region that is written again is read out again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function empty(sentence) {
  return el("p", { class: "empty" }, sentence);
}

export function tile(title, value, note, className = null) {
  return el("div", { class: `tile ${className ?? ""}`.trim() },
    el("dt", {}, title), el("dd", { class: "value" }, value), el("dd", { class: "note" }, note));
}

export function bar(label, value, max, className = null) {
  return el("progress", { "aria-label": label, value: max > 0 ? Math.min(value, max) : 0, max: max > 0 ? max : 1, class: className });
}

export function objectLink(key, shown = key) {
  return el("a", { href: `/object?key=${encodeURIComponent(key)}`, class: "key", title: key }, shown);
}

// Numbers for people. Rules: three significant digits and a unit; a true minus sign; "–" for what is
// not known. Units: bytes, seconds, Unix seconds.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
export const NONE = "–";

export function size(bytes) {
  if (bytes === null || bytes === undefined) return NONE;
  let amount = Math.abs(bytes);
  let unit = 0;
  while (amount >= 999.5 && unit < SIZES.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${sign(bytes)}${digits(amount, unit > 0)} ${SIZES[unit]}`;
}

export function rate(bytesPerSecond) {
  return bytesPerSecond === null ? NONE : `${size(bytesPerSecond)}/s`;
}

const COUNTS = ["", "k", "M", "G", "T"];

export function count(number) {
  if (number === null || number === undefined) return NONE;
  if (Math.abs(number) < 10000) return `${sign(number)}${group(Math.abs(Math.round(number)))}`;
  let amount = Math.abs(number);
  let unit = 0;
  while (amount >= 999.5 && unit < COUNTS.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${sign(number)}${digits(amount, true)} ${COUNTS[unit]}`;
}

export function perSecond(number) {
  if (number === null) return NONE;
  return `${number > 0 && number < 9.95 ? number.toFixed(1) : count(number)} requests/s`;
}

export function ratio(part, whole) {
  return whole > 0 ? percent(part / whole) : NONE;
}

export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return NONE;
  const hundredths = share * 100;
  // 99.97 % is not "100 %": a hit ratio that is not whole must not look so.
  const text = hundredths > 99.9 && hundredths < 100 ? "99.9" : Math.abs(hundredths).toFixed(1);
  return `${sign(share)}${text} %`;
}

export function money(micro, currency) {
  if (micro === null || micro === undefined) return NONE;
  const amount = Math.abs(micro) / 1e6;
  const decimals = amount >= 1000 ? 0 : amount >= 1 || amount === 0 ? 2 : 4;
  const [whole, rest] = amount.toFixed(decimals).split(".");
  return `${sign(micro)}${group(whole)}${rest ? `.${rest}` : ""} ${currency}`;
}

const SPANS = [[86400, "d"], [3600, "h"], [60, "min"]];

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  for (const [length, unit] of SPANS) {
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

export function duration(seconds) {
  if (seconds === null) return NONE;
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${digits(seconds * 1000, true)} ms`;
  return `${digits(seconds, true)} s`;
}

export function ago(at, nowAt) {
  if (!at) return "never";
  const seconds = nowAt - at;
  return seconds < 1.5 ? "now" : `${span(seconds)} ago`;
}

export function time(at, stepS) {
  const date = new Date(at * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return stepS >= 86400 ? day : `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

function digits(amount, isScaled) {
  if (!isScaled) return String(Math.round(amount));
  if (amount >= 99.95) return amount.toFixed(0);
  return amount.toFixed(amount >= 9.995 ? 1 : 2);
}

function sign(number) {
  return number < 0 ? "−" : "";
}

function group(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, " ");
}

function two(number) {
  return String(number).padStart(2, "0");
}

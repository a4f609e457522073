// Elements, words and numbers that all parts of the page share. Text only ever enters as text, never as HTML.

export const $ = (id) => document.getElementById(id);

// An element with attributes and children; a child that is no element becomes text.
export function el(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "colour") made.style.setProperty("--of", value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

// Text in which plotly.js, which knows a few tags, finds none.
export const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

export const percent = (share, digits = 2) => (share === null || share === undefined ? "–" : (100 * share).toFixed(digits) + " %");

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toPrecision(4) : String(+value.toPrecision(5));
}

// Two units at most: "2 h 5 min", "48 s".
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (seconds > 0 && seconds < 10) return `${+seconds.toPrecision(2)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const moment = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export const plural = (count, one, many = one + "s") => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

// The JSON at an address of ours; what is wrong is thrown as an Error that a person can read.
export async function ask(address, options = {}) {
  const answered = await fetch(address, { cache: "no-store", ...options });
  const text = await answered.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error(text || `the page's server answered ${answered.status}`);
  }
  if (!answered.ok) throw new Error(found.error || `the page's server answered ${answered.status}`);
  return found;
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// The table of models: sorted by any column, walked through with the arrow keys, a line kept as long as its model is.
import { $, duration, el, number, percent } from "./dom.js";

const STEP = 100;
const rows = new Map(); // by model
let most = STEP, sort = { name: "test_accuracy", down: true }, columns = "", again = () => {};

const FIRST = [["test_accuracy", "test accuracy", percent], ["train_seconds", "training time", (value) => (value === null ? "–" : duration(value))]];
const LAST = [["train_accuracy", "training accuracy", percent], ["epochs", "epochs", number]];

// What a model is drawn by, what it came to, then the rest: on a phone the first columns are what is seen.
function heads(facets) {
  const head = (name, title, isNumber) => el("th", { scope: "col", class: isNumber && "number", "data-name": name },
    el("button", { type: "button", onclick: () => sortBy(name, isNumber) }, title));
  const made = facets.map((facet) => head(facet.name, facet.title, facet.isNumeric));
  const measured = (those) => those.map(([name, title]) => head(name, title, true));
  $("models").tHead.replaceChildren(el("tr", {}, made.slice(0, 1), measured(FIRST), made.slice(1), measured(LAST), head("status", "status", false)));
}

function sortBy(name, isDownFirst) {
  sort = { name, down: sort.name === name ? !sort.down : isDownFirst };
  again();
}

function row(model, facets, look) {
  const cells = facets.map((facet, at) => el("td", { class: facet.isNumeric && "number" },
    at === 0 ? el("span", { class: "swatch", colour: look.colour }) : null, facet.words[facet.place(model)]));
  const measured = (those) => those.map(([name, , said]) => el("td", { class: "number" }, said(model[name])));
  return el("tr", { tabindex: -1, "data-id": model.id }, cells.slice(0, 1), measured(FIRST), cells.slice(1), measured(LAST),
    el("td", { class: model.status === "failed" && "error" }, model.status));
}

function compared(facets) {
  const facet = facets.find((one) => one.name === sort.name), sign = sort.down ? -1 : 1;
  const ranks = facet ? Object.fromEntries(facet.order.map((place, rank) => [place, rank])) : null;
  const value = (model) => (facet ? ranks[facet.place(model)] : model[sort.name]);
  return (a, b) => {
    const x = value(a), y = value(b);
    if (x === y) return a.id - b.id;
    if (x === null) return 1; // what is not known goes last, whatever the direction
    if (y === null) return -1;
    return x < y ? -sign : sign;
  };
}

// Show `models`; `facets` are its first columns, of which the first has the colours.
export function drawTable({ models, facets, looks, selected, onOpen }) {
  again = () => drawTable({ models, facets, looks, selected, onOpen });
  const named = JSON.stringify(facets.map((facet) => [facet.name, looks]));
  if (named !== columns) {
    columns = named;
    rows.clear();
    heads(facets);
  }
  for (const head of $("models").tHead.querySelectorAll("th")) {
    if (head.dataset.name === sort.name) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  const sorted = [...models].sort(compared(facets));
  const body = $("models").tBodies[0];
  sorted.slice(0, most).forEach((model, at) => {
    if (!rows.has(model)) rows.set(model, row(model, facets, looks[facets.length ? facets[0].place(model) : 0]));
    const line = rows.get(model);
    if (body.children[at] !== line) body.insertBefore(line, body.children[at] ?? null); // others stay where they are
    if (selected && selected.id === model.id) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  });
  while (body.children.length > Math.min(most, sorted.length)) body.lastChild.remove();
  if (!body.querySelector('tr[tabindex="0"]')) body.firstChild?.setAttribute("tabindex", 0);
  if (!sorted.length) body.replaceChildren(el("tr", { class: "none" }, el("td", { class: "quiet", colspan: facets.length + 5 }, "No model to show yet.")));
  const left = sorted.length - most;
  $("more").hidden = left <= 0;
  $("more").textContent = `Show ${Math.min(left, STEP)} more of ${left.toLocaleString("en")}`;
  $("more").onclick = () => {
    most += STEP;
    again();
  };
  body.onclick = (event) => opened(event.target.closest("tr"), onOpen, false);
  body.onkeydown = (event) => walk(event, onOpen);
}

function opened(line, onOpen, isFocus) {
  if (line?.dataset.id !== undefined) onOpen(Number(line.dataset.id), isFocus, line);
}

function walk(event, onOpen) {
  const line = event.target.closest("tr"), lines = [...line.parentNode.children], at = lines.indexOf(line);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
  if (to !== undefined) {
    const next = lines[Math.max(0, Math.min(lines.length - 1, to))];
    line.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  } else if (event.key === "Enter" || event.key === " ") opened(line, onOpen, true);
  else return;
  event.preventDefault();
}

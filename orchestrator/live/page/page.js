// The live page: asks for news every two seconds, keeps what is chosen in its address, and lets the parts draw it.
import { $, ask, css, duration, el, percent, plural } from "./dom.js";
import { hideDetail, showDetail } from "./detail.js";
import { drawClaims, drawFailures, forgetClaims, setUpSql } from "./panels.js";
import { COSTS, drawScatter, looksOf } from "./plots.js";
import { drawTable } from "./table.js";

const EVERY_MS = 2000, SOON_MS = 500, MOST_VALUES = 40;
const TABS = ["models", "failures", "claims", "sql"];
const ORDER = ["done", "diverged", "running", "interrupted", "failed", "blocked", "pending"];

const none = () => Object.create(null); // by an axis' name, be it one that every object has something by
const chosen = { sweep: "", model: "", cost: "train_seconds", log: false, colour: "", tab: "models", only: none() };
const seen = { life: "", known: 0, models: new Map(), facets: [], columns: [], news: null, redrawn: "" };

// What is chosen stands in the address, so that a reload or a link shows the same.

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  chosen.sweep = given.get("sweep") ?? "";
  chosen.model = given.get("model") ?? "";
  chosen.cost = Object.hasOwn(COSTS, given.get("cost")) ? given.get("cost") : "train_seconds";
  chosen.log = given.has("log");
  chosen.colour = given.get("colour") ?? "";
  chosen.tab = TABS.includes(given.get("tab")) ? given.get("tab") : "models";
  chosen.only = none();
  for (const [name, value] of given) if (name.startsWith("only.")) (chosen.only[name.slice(5)] ??= new Set()).add(value);
}

function writeAddress() {
  const told = new URLSearchParams();
  if (chosen.sweep) told.set("sweep", chosen.sweep);
  if (chosen.model) told.set("model", chosen.model);
  if (chosen.cost !== "train_seconds") told.set("cost", chosen.cost);
  if (chosen.log) told.set("log", "1");
  if (chosen.colour) told.set("colour", chosen.colour);
  if (chosen.tab !== "models") told.set("tab", chosen.tab);
  for (const [name, values] of Object.entries(chosen.only)) for (const value of values) told.append(`only.${name}`, value);
  history.replaceState(null, "", `#${told}`);
}

// News

function take(news) {
  seen.news = news;
  if (news.is_whole && news.sweeps.length && !news.sweeps.some((one) => one.name === chosen.sweep)) {
    chosen.sweep = [...news.sweeps].sort((a, b) => b.latest - a.latest)[0].name;
    return true; // ask again, for this one
  }
  if (news.life !== seen.life || news.sweep !== seen.sweep) Object.assign(seen, { life: news.life, sweep: news.sweep, models: new Map(), known: 0 });
  if (!news.models) return false;
  const at = Object.fromEntries(news.columns.map((name, place) => [name, place]));
  const first = at.finished_at + 1;
  for (const entry of news.models) {
    const model = Object.fromEntries(news.columns.slice(0, first).map((name, place) => [name, entry[place]]));
    model.places = entry.slice(first);
    seen.models.set(model.id, model);
  }
  seen.known = news.known;
  seen.facets = facetsOf(news);
  return false;
}

// What models can be told apart by: the sweep's axes, then seed and round where they differ.
function facetsOf(news) {
  const facets = news.axes.map((axis, place) => ({
    ...axis, place: (model) => model.places[place], isNumeric: axis.words.every((words) => words === "none" || !Number.isNaN(Number(words))),
  }));
  for (const name of ["seed", "round"]) {
    const values = [...new Set([...seen.models.values()].map((model) => model[name]))].sort((a, b) => a - b);
    const places = new Map(values.map((value, place) => [value, place]));
    facets.push({ name, title: name, words: values.map(String), order: values.map((_, place) => place), place: (model) => places.get(model[name]), isNumeric: true, varies: values.length > 1 });
  }
  return facets;
}

const varying = () => seen.facets.filter((facet) => facet.varies);
const colourFacet = () => varying().find((facet) => facet.name === chosen.colour) ?? varying().find((facet) => facet.name === "init") ?? varying()[0];

function isShown(model, besides = "") {
  return seen.facets.every((facet) => facet.name === besides || !chosen.only[facet.name]?.size || chosen.only[facet.name].has(facet.words[facet.place(model)]));
}

// Drawing

function drawProgress() {
  const { news } = seen, progress = news.progress;
  const counts = progress?.counts ?? { ...news.counts, pending: Math.max(0, news.planned - Object.values(news.counts ?? {}).reduce((a, b) => a + b, 0)) };
  const total = Object.values(counts).reduce((a, b) => a + b, 0), ended = (counts.done ?? 0) + (counts.diverged ?? 0);
  const what = progress?.counts ? "stage" : "model";
  $("headline").textContent = !news.is_whole ? `Reading the store: ${plural(seen.models.size, "model")} so far …` : total ? `${ended.toLocaleString("en")} of ${plural(total, what)}` : "Nothing was launched yet";
  $("left").textContent = news.is_whole ? leftInWords(progress, counts, total, ended) : "";
  const there = ORDER.filter((status) => counts[status]);
  const bar = $("bar");
  if (bar.dataset.there !== String(there)) {
    bar.dataset.there = there;
    bar.replaceChildren(...there.map((status) => el("span", { class: status })));
  }
  there.forEach((status, at) => (bar.children[at].style.flexGrow = counts[status]));
  bar.setAttribute("aria-label", there.map((status) => `${counts[status]} ${status}`).join(", "));
  $("legend").replaceChildren(...there.map((status) => el("li", { class: status, title: progress?.sentences?.[status] }, `${counts[status].toLocaleString("en")} ${status}`)));
  drawNumbers(progress);
  $("note").hidden = !progress?.note;
  $("note").textContent = progress?.note ?? "";
  document.title = total ? `${Math.floor((100 * ended) / total)} % ${chosen.sweep} – warmgrid` : "warmgrid";
}

function leftInWords(progress, counts, total, ended) {
  if (!progress?.counts || !total) return "";
  if (ended === total) return "all done";
  if (progress.seconds_left === null || progress.seconds_left === undefined) return counts.running ? "time left not known yet" : "nothing runs now";
  const workers = progress.workers ? ` with ${plural(progress.workers, "worker")}` : "";
  return counts.running ? `about ${duration(progress.seconds_left)} left${workers}` : `nothing runs now; about ${duration(progress.seconds_left)} of work left on one worker`;
}

function drawNumbers(progress) {
  const { news } = seen, told = [];
  const trained = (news.counts?.done ?? 0) + (news.counts?.diverged ?? 0);
  if (news.planned) told.push(["results", `${trained.toLocaleString("en")} of ${news.planned.toLocaleString("en")}`]);
  const best = [...seen.models.values()].reduce((top, model) => (model.status === "done" && (model.test_accuracy ?? -1) > (top?.test_accuracy ?? -1) ? model : top), null);
  if (best?.test_accuracy) {
    const facet = colourFacet();
    told.push(["best test accuracy", `${percent(best.test_accuracy)}${facet ? `, ${facet.words[facet.place(best)]}` : ""}`]);
  }
  if (progress?.wall_seconds) told.push(["worker time", duration(progress.wall_seconds)]);
  if (progress?.seconds_saved) told.push(["saved by sharing", duration(progress.seconds_saved)]);
  $("numbers").replaceChildren(...told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  fold("running", progress?.running ?? [], `${plural(progress?.counts?.running ?? 0, "stage")} in training now`, (one) => [el("button", { type: "button", class: "link key", onclick: () => open(one.key) }, one.key), ` on ${one.host ?? "a worker"} since ${one.since}${one.epoch ? `, epoch ${one.epoch} kept` : ""}: ${one.settings}`]);
  fold("happened", progress?.happened ?? [], "What happened to workers and stages", (one) => one);
  drawByAxis(progress?.per_axis ?? []);
}

function fold(id, lines, title, said) {
  const place = $(id);
  place.hidden = !lines.length;
  const now = JSON.stringify(lines);
  if (place.dataset.told === now) return;
  place.dataset.told = now;
  place.firstElementChild.textContent = title;
  place.lastElementChild.replaceChildren(...lines.map((line) => el("li", {}, said(line))));
}

function drawByAxis(axes) {
  const perAxis = axes.filter((axis) => axis.values.length > 1);
  const place = $("by-axis"), now = JSON.stringify(perAxis);
  place.hidden = !perAxis.length;
  if (place.dataset.told === now) return;
  place.dataset.told = now;
  const names = ORDER.filter((status) => perAxis.some((axis) => axis.values.some((value) => value.counts[status])));
  const lines = perAxis.flatMap((axis) => axis.values.map((value, at) => el("tr", {}, el("td", { class: "quiet" }, at ? "" : axis.axis), el("td", {}, value.value), names.map((status) => el("td", { class: "number" }, value.counts[status] ? value.counts[status].toLocaleString("en") : "")))));
  place.lastElementChild.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "setting"), el("th", {}, "value"), names.map((status) => el("th", { class: "number" }, status)))), el("tbody", {}, lines)));
}

function drawFilters() {
  const facet = colourFacet(), looks = looksOf(facet), all = [...seen.models.values()];
  const parts = varying().filter((one) => one.words.length <= MOST_VALUES).map((one) => {
    const counts = new Map();
    for (const model of all) if (isShown(model, one.name)) counts.set(one.place(model), (counts.get(one.place(model)) ?? 0) + 1);
    const lines = one.order.map((place) => {
      const words = one.words[place];
      const box = el("input", { type: "checkbox", "data-facet": one.name, "data-value": words });
      box.checked = chosen.only[one.name]?.has(words) ?? false;
      return el("label", {}, box, one === facet ? el("span", { class: "swatch", colour: looks[place].colour }) : null, words, el("span", { class: "count" }, (counts.get(place) ?? 0).toLocaleString("en")));
    });
    return el("fieldset", {}, el("legend", {}, one.title), lines);
  });
  const focus = document.activeElement?.dataset?.facet ? { ...document.activeElement.dataset } : null;
  $("filters").replaceChildren(...parts);
  if (focus) [...$("filters").querySelectorAll("input")].find((box) => box.dataset.facet === focus.facet && box.dataset.value === focus.value)?.focus();
  const count = Object.values(chosen.only).reduce((sum, values) => sum + values.size, 0);
  $("clear").hidden = !count;
  $("filters-said").textContent = count ? `${count} chosen` : "";
  const fixed = seen.facets.filter((one) => !one.varies && !["seed", "round"].includes(one.name) && one.words.some((words) => words !== "none"));
  $("fixed").textContent = fixed.length ? `All models: ${fixed.map((one) => `${one.title} ${one.words.find((words) => words !== "none")}`).join(", ")}.` : "";
  const options = varying().map((one) => el("option", { value: one.name }, one.title));
  $("colour").replaceChildren(...options);
  $("colour").value = facet?.name ?? "";
  $("colour").parentElement.hidden = options.length < 2;
}

function draw() {
  const { news } = seen;
  if (!news) return;
  drawProgress();
  const now = JSON.stringify([seen.life, seen.sweep, seen.known, chosen, Object.entries(chosen.only).map(([name, values]) => [name, ...values]), css("--ink"), news.axes]);
  if (now === seen.redrawn) return; // nothing that the rest shows has changed
  seen.redrawn = now;
  drawFilters();
  const facet = colourFacet(), looks = looksOf(facet), shown = [...seen.models.values()].filter((model) => isShown(model));
  const selected = [...seen.models.values()].find((model) => model.key === chosen.model);
  const dots = shown.filter((model) => model.status === "done" && model.test_accuracy !== null && model[chosen.cost] !== null && !(chosen.log && model[chosen.cost] <= 0));
  const facets = varying(), ordered = facet ? [facet, ...facets.filter((one) => one !== facet)] : facets;
  drawScatter({ models: dots, facets: ordered, colour: facet, looks, cost: chosen.cost, isLog: chosen.log, selected, view: `${chosen.sweep} ${chosen.cost} ${chosen.log}`, onClick: (id) => openModel(id, false) });
  const without = shown.length - dots.length;
  $("shown").textContent = `${plural(dots.length, "model")}, one dot each${shown.length < seen.models.size ? ` of ${seen.models.size.toLocaleString("en")}` : ""}${without ? `; ${without} that failed, diverged or have no such number are left out` : ""}. Lines: no model is both cheaper and better.`;
  $("models-count").textContent = shown.length.toLocaleString("en");
  drawTable({ models: shown, facets: ordered, looks, selected, onOpen: openModel });
}

function drawTabs() {
  for (const name of TABS) {
    const tab = $(`${name}-tab`), isThis = name === chosen.tab;
    tab.setAttribute("aria-selected", isThis);
    tab.tabIndex = isThis ? 0 : -1;
    $(`${name}-panel`).hidden = !isThis;
  }
  if (chosen.tab === "claims" && chosen.sweep) drawClaims(chosen.sweep, seen.news?.changes);
}

function drawSweeps(news) {
  const now = JSON.stringify(news.sweeps.map((one) => one.name));
  if ($("sweep").dataset.told !== now) {
    $("sweep").dataset.told = now;
    $("sweep").replaceChildren(...news.sweeps.map((one) => el("option", { value: one.name }, one.name)));
  }
  $("sweep").value = chosen.sweep;
  $("store").textContent = `\u200e${news.store}`;
  $("store").title = news.store;
}

// What the user does

let back = null; // where the keyboard was before the detail opened

function open(key, isFocus = true, from = document.activeElement) {
  chosen.model = key;
  if (!$("detail").contains(from)) back = from; // what is inside goes away with what it opens
  writeAddress();
  showDetail(key, { sweep: chosen.sweep, open, isFocus });
  draw();
}

function openModel(id, isFocus, from) {
  const model = seen.models.get(id);
  if (model) open(model.key, isFocus, from);
}

function close() {
  if (!chosen.model) return;
  chosen.model = "";
  writeAddress();
  hideDetail();
  draw();
  if (back?.isConnected) back.focus();
}

function choose(change) {
  Object.assign(chosen, change);
  writeAddress();
  draw();
}

function chooseSweep(sweep) {
  hideDetail();
  forgetClaims();
  choose({ sweep, model: "", only: none() });
  drawTabs();
  wake();
}

function setUp() {
  $("costs").append(...Object.entries(COSTS).map(([name, [title]]) => el("label", {}, el("input", { type: "radio", name: "cost", value: name }), title)));
  $("costs").addEventListener("change", (event) => choose({ cost: event.target.value }));
  $("log").addEventListener("change", (event) => choose({ log: event.target.checked }));
  $("colour").addEventListener("change", (event) => choose({ colour: event.target.value }));
  $("sweep").addEventListener("change", (event) => chooseSweep(event.target.value));
  $("filters").addEventListener("change", ({ target }) => {
    const values = (chosen.only[target.dataset.facet] ??= new Set());
    if (target.checked) values.add(target.dataset.value);
    else values.delete(target.dataset.value);
    choose({});
  });
  $("clear").addEventListener("click", () => choose({ only: none() }));
  $("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  const list = document.querySelector("[role=tablist]");
  list.addEventListener("click", (event) => event.target.closest("button") && showTab(event.target.closest("button").id.replace("-tab", "")));
  list.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    showTab(TABS[(TABS.indexOf(chosen.tab) + by + TABS.length) % TABS.length]);
    $(`${chosen.tab}-tab`).focus();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    draw();
    if (chosen.model) showDetail(chosen.model, { sweep: chosen.sweep, open });
  });
  const wide = matchMedia("(min-width: 1181px)"), unfold = () => ($("filters-fold").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  addEventListener("hashchange", () => {
    readAddress();
    applyAddress();
    wake();
  });
  setUpSql(() => chosen.sweep);
}

function showTab(tab) {
  choose({ tab });
  drawTabs();
}

function applyAddress() {
  document.querySelector(`input[name=cost][value=${chosen.cost}]`).checked = true;
  $("log").checked = chosen.log;
  if (chosen.model) showDetail(chosen.model, { sweep: chosen.sweep, open });
  else hideDetail();
  drawTabs();
  draw();
}

// Asking for news, as long as the page is to be seen

let wake = () => {};
const pause = (ms) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  wake = () => {
    clearTimeout(timer);
    done();
  };
});

function sayLive(is, said) {
  $("live").className = `live ${is}`;
  $("live").textContent = said;
}

// Once, as what is written there is read aloud.
function sayTrouble(said) {
  $("trouble").hidden = !said;
  if ($("trouble").textContent !== said) $("trouble").textContent = said;
}

async function look() {
  const life = seen.sweep === chosen.sweep ? seen.life : "";
  const asked = chosen.sweep, news = await ask(`api/news?${new URLSearchParams({ sweep: asked, life, since: life ? seen.known : 0 })}`);
  if (asked !== chosen.sweep) return 0;
  const before = seen.news?.changes;
  if (take(news)) return 0;
  drawSweeps(news);
  draw();
  drawFailures(news.progress?.failures ?? news.failures ?? [], open);
  if (chosen.model && before !== undefined && before !== news.changes) showDetail(chosen.model, { sweep: chosen.sweep, open });
  drawTabs();
  sayTrouble(news.trouble);
  if (news.trouble) sayLive("off", "store not readable");
  else sayLive("on", news.looked_at ? `as of ${new Date(1000 * news.looked_at).toLocaleTimeString()}` : "reading");
  return news.is_whole && (news.progress || !news.sweep) ? EVERY_MS : SOON_MS;
}

async function follow() {
  for (;;) {
    let next = EVERY_MS;
    try {
      next = await look();
    } catch (error) {
      sayLive("off", "no answer");
      sayTrouble(error instanceof TypeError ? "The page's server does not answer. Is `warmgrid serve` still running? Trying again." : error.message);
    }
    if (next) await pause(next);
    while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
  }
}

readAddress();
setUp();
applyAddress();
follow();

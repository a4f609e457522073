// All about one stage: settings, learning curve, lineage, where it ran, failure, log.
import { $, ask, css, duration, el, moment, number, percent } from "./dom.js";
import { drawCurve } from "./plots.js";

const ACCURACIES = ["test_accuracy", "train_accuracy"], TIMES = ["train_seconds", "wall_seconds"], MOMENTS = ["started at", "finished at"];
let shown = null, told = "";

function said(name, value) {
  if (value === null) return "–";
  if (ACCURACIES.includes(name)) return percent(value);
  if (TIMES.includes(name)) return duration(value);
  if (MOMENTS.includes(name)) return moment(value);
  if (name === "seed" || name === "round") return String(value);
  return name === "stop_reason" ? value.replaceAll("_", " ") : number(value);
}

const WORDS = { train_seconds: "training time", wall_seconds: "time in all", stop_reason: "stopped by" };
const words = (name) => WORDS[name] ?? name.replace("train_", "training ").replaceAll("_", " ");
const facts = (pairs, kind = "facts") => el("dl", { class: kind }, pairs.map(([name, value]) => [el("dt", {}, words(name)), el("dd", {}, said(name, value))]));
const part = (title, ...inside) => [el("h3", {}, title), ...inside];

function lineage(found, open) {
  const line = (one) => el("li", {}, el("button", { type: "button", class: "link", onclick: () => open(one.key) }, one.words), " ",
    el("span", { class: "quiet" }, one.status === "done" ? percent(one.test_accuracy) : one.status));
  const more = found.more_below ? [el("li", { class: "quiet" }, `and ${found.more_below} more that start from it`)] : [];
  return el("ul", { class: "tree" }, [...found.above].reverse().map(line), el("li", { class: "here" }, "this stage"), found.below.map(line), more);
}

function body(found, open) {
  const first = ["status", "test_accuracy", "train_accuracy", "epochs", "train_seconds", "stop_reason"];
  const of = (names) => found.measured.filter(([name]) => names.includes(name));
  const rest = found.measured.filter(([name]) => !first.includes(name));
  const parts = [el("p", { class: "quiet small" }, "stage ", el("span", { class: "key" }, found.key))];
  if (Object.keys(found.running).length) {
    const { host, started_at: since, epoch, attempts } = found.running;
    parts.push(el("p", {}, `In training on ${host || "a worker"}${since ? ` since ${moment(since)}` : ""}${attempts > 1 ? `, attempt ${attempts}` : ""}${epoch ? `, epoch ${epoch} kept` : ""}.`));
  }
  if (found.measured.length) {
    parts.push(el("dl", { class: "facts two" }, of(first).map(([name, value]) => el("div", {}, el("dt", {}, words(name)), el("dd", {}, said(name, value))))));
  }
  if (found.error) parts.push(...part("Failed", el("p", { class: "error" }, found.error)));
  if (found.traceback) parts.push(el("pre", { tabindex: 0, class: "traceback", "aria-label": "Traceback" }, found.traceback));
  if (found.curve.epoch?.length) parts.push(...part("Learning curve", el("div", { class: "curve", role: "img", "aria-label": `Accuracy over ${found.curve.epoch.length} epochs` })));
  found.cells.forEach((cell, at) => parts.push(...part(found.cells.length > 1 ? `Result of cell ${at + 1}` : "Cell", facts(cell))));
  if (found.above.length || found.below.length) parts.push(...part("Lineage", lineage(found, open)));
  if (found.settings.length) parts.push(el("details", {}, el("summary", {}, el("h3", { style: "display:inline" }, "All settings")), facts(found.settings), rest.length ? part("Measured", facts(rest)) : []));
  if (found.where.length) parts.push(...part("Where and when", facts(found.where)));
  parts.push(...part("Log", found.log.length
    ? el("pre", { tabindex: 0, class: "log", "aria-label": "Last lines of the log" }, found.log.join("\n"))
    : el("p", { class: "quiet" }, found.measured.length ? "No log was kept of this stage." : "Its log is kept when it ends.")));
  return parts;
}

// Show the stage `key`; `isFocus` moves the keyboard there.
export async function showDetail(key, { sweep, open, isFocus }) {
  const isOther = shown !== key;
  shown = key;
  $("detail").classList.add("open");
  $("close").hidden = false;
  if (isOther) {
    told = "";
    $("detail-head").textContent = "Reading …";
    $("detail").scrollTop = 0;
  }
  let parts, title = "", curve = null, now = "";
  try {
    const found = await ask(`api/stages/${key}?${new URLSearchParams({ sweep })}`);
    now = JSON.stringify([found, css("--ink")]);
    if (shown === key && now === told) return isFocus && $("detail-head").focus(); // what is read, scrolled or chosen in it stays
    parts = body(found, open);
    title = found.title;
    curve = found.curve.epoch?.length ? found.curve : null;
  } catch (error) {
    parts = [el("p", { class: "error" }, error.message)];
    title = "Not to be had";
  }
  if (shown !== key) return; // another one was chosen meanwhile
  told = now;
  const hadFocus = $("detail-body").contains(document.activeElement);
  const wasOpen = !isOther && $("detail-body").querySelector("details")?.open;
  $("detail-head").textContent = title;
  $("detail-body").replaceChildren(...parts);
  if (wasOpen) $("detail-body").querySelector("details").open = true;
  const log = $("detail-body").querySelector(".log");
  if (log) log.scrollTop = log.scrollHeight;
  if (curve) drawCurve($("detail-body").querySelector(".curve"), curve);
  if (isFocus || hadFocus) $("detail-head").focus();
}

export function hideDetail() {
  shown = null;
  told = "";
  $("detail").classList.remove("open");
  $("close").hidden = true;
  $("detail-head").textContent = "A model";
  $("detail-body").replaceChildren(el("p", { class: "quiet" }, "Click a dot, or a line of the table, for a model’s settings, learning curve, lineage and log."));
}

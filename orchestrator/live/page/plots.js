// The scatter of models and the learning curve of one, drawn with plotly.js (a global, from the package plotly).
import { $, css, duration, escaped, isDark, number, percent } from "./dom.js";

export const COSTS = {
  train_seconds: ["seconds", "training time (s)"],
  steps: ["steps", "training steps"],
  examples_seen: ["examples", "training examples processed"],
  epochs: ["epochs", "training epochs"],
};
const FIRST = { "random init": 0, "warm start": 1 };
// Okabe and Ito's colours, lighter on dark ground; told apart by all kinds of colour vision.
const LIGHT = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5b6672"];
const DARK = ["#F28B4B", "#58AEF0", "#35C596", "#E4A0C8", "#F2BE4E", "#A9DBF7", "#B9C3CC"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star"];
const MANY = 300, MANY_FOR_SVG = 1500, MOST_IN_LEGEND = 14;
const hasWebgl = document.createElement("canvas").getContext("webgl") !== null;

// Colour and symbol of each value of a facet, by place.
export function looksOf(facet) {
  const palette = isDark() ? DARK : LIGHT;
  const looks = [];
  if (!facet) return [{ colour: palette[1], symbol: "circle" }];
  const isScale = facet.isNumeric && facet.order.length > 4;
  let next = facet.words.some((words) => words in FIRST) ? 2 : 0;
  facet.order.forEach((place, rank) => {
    if (isScale) {
      looks[place] = { colour: onScale(rank / Math.max(1, facet.order.length - 1)), symbol: "circle" };
      return;
    }
    const at = FIRST[facet.words[place]] ?? next++;
    looks[place] = { colour: palette[at % palette.length], symbol: SYMBOLS[Math.floor(at / palette.length) % SYMBOLS.length] };
  });
  return looks;
}

// From blue over green to orange, at about one brightness.
function onScale(share) {
  const hue = 250 - 215 * share;
  return isDark() ? `hsl(${hue}, 70%, 66%)` : `hsl(${hue}, 75%, 38%)`;
}

// Places of the points that no other point beats, in the order of rising cost.
function front(points) {
  const found = [];
  for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y)) {
    if (!found.length || point.y > found[found.length - 1].y) found.push(point);
  }
  return found;
}

function axis(title, extra = {}) {
  const line = css("--line");
  return {
    title: { text: title, font: { size: 12.5 }, standoff: 8 }, automargin: true, gridcolor: line, linecolor: line,
    zeroline: false, ticks: "outside", tickcolor: line, ticklen: 4, separatethousands: true, ...extra,
  };
}

function layout(extra) {
  const ink = css("--ink"), card = css("--card");
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, Helvetica, Arial, sans-serif", size: 12, color: css("--quiet") },
    hoverlabel: { bgcolor: card, bordercolor: css("--line"), align: "left", font: { color: ink, size: 12.5 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent") },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...extra,
  };
}

const NOTHING = { text: "Nothing to draw here yet.<br>Models appear as their stages end.", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 13.5 } };
const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };

function hover(model, facets) {
  const lines = [`<b>${percent(model.test_accuracy)}</b>`];
  lines.push(`${model.train_seconds === null ? "–" : duration(model.train_seconds)}, ${number(model.epochs)} epochs`);
  for (const facet of facets) lines.push(`${escaped(facet.title)} <b>${escaped(facet.words[facet.place(model)])}</b>`);
  return lines.join("<br>");
}

// Draw `models`, which all have an accuracy and a cost; what is zoomed to stays as it is.
export function drawScatter({ models, facets, colour, looks, cost, isLog, selected, view, onClick }) {
  const plot = $("plot");
  const groups = new Map();
  for (const model of models) {
    const place = colour ? colour.place(model) : 0;
    if (!groups.has(place)) groups.set(place, []);
    groups.get(place).push(model);
  }
  const many = models.length > MANY, kind = hasWebgl && models.length > MANY_FOR_SVG ? "scattergl" : "scatter";
  const order = colour ? colour.order.filter((place) => groups.has(place)) : [0].filter((place) => groups.has(place));
  const traces = [];
  for (const place of order) {
    const of = groups.get(place), look = looks[place], name = colour ? colour.words[place] : "models";
    traces.push({
      type: kind, mode: "markers", name: `${escaped(name)} (${of.length})`, legendgroup: String(place), uid: `dots-${place}`,
      x: of.map((model) => model[cost]), y: of.map((model) => 100 * model.test_accuracy), customdata: of.map((model) => model.id),
      text: of.map((model) => hover(model, facets)), hovertemplate: "%{text}<extra></extra>",
      marker: { color: look.colour, symbol: look.symbol, size: many ? 6 : 9, opacity: many ? 0.55 : 0.85, line: { width: 0 } },
    });
  }
  for (const place of order) {
    const line = front(groups.get(place).map((model) => ({ x: model[cost], y: 100 * model.test_accuracy })));
    traces.push({
      type: "scatter", mode: "lines", legendgroup: String(place), uid: `front-${place}`, showlegend: false, hoverinfo: "skip",
      x: line.map((point) => point.x), y: line.map((point) => point.y), line: { color: looks[place].colour, width: 1.5, shape: "hv" },
      opacity: 0.7,
    });
  }
  const ring = selected && models.includes(selected) ? selected : null;
  traces.push({
    type: "scatter", mode: "markers", uid: "ring", showlegend: false, hoverinfo: "skip",
    x: ring ? [ring[cost]] : [null], y: ring ? [100 * ring.test_accuracy] : [null],
    marker: { symbol: "circle-open", size: 17, color: css("--ink"), line: { width: 2.5 } },
  });
  const hasLegend = order.length > 1 && order.length <= MOST_IN_LEGEND;
  Plotly.react(plot, traces, layout({
    uirevision: view, margin: { l: 48, r: 10, t: 12, b: hasLegend ? 74 : 44 }, showlegend: hasLegend,
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 12.5 }, itemsizing: "constant" },
    xaxis: axis(COSTS[cost][1], { type: isLog ? "log" : "linear", rangemode: "tozero", visible: order.length > 0 }),
    yaxis: axis("test accuracy (%)", { visible: order.length > 0 }),
    annotations: order.length ? [] : [NOTHING],
  }), CONFIG);
  if (!plot.isListening && plot.on) {
    plot.isListening = true;
    plot.on("plotly_click", (event) => onClick(event.points[0].customdata));
    new ResizeObserver(() => Plotly.Plots.resize(plot)).observe(plot); // words below it come and go
  }
}

// The accuracies by epoch of one stage.
export function drawCurve(place, curve) {
  const dark = isDark(), palette = dark ? DARK : LIGHT;
  const line = (name, column, colour, dash) => ({
    type: "scatter", mode: curve.epoch.length > 1 ? "lines" : "markers", name, x: curve.epoch,
    y: curve[column].map((value) => (value === null ? null : 100 * value)), line: { color: colour, width: 2, dash },
    hovertemplate: `epoch %{x}: %{y:.2f} %<extra>${name}</extra>`,
  });
  Plotly.react(place, [line("test", "test_accuracy", palette[1], "solid"), line("training", "train_accuracy", palette[0], "dot")], layout({
    margin: { l: 44, r: 8, t: 8, b: 34 }, hovermode: "x unified", legend: { orientation: "h", x: 1, xanchor: "right", y: 0.04, yanchor: "bottom" },
    xaxis: axis("epoch", { rangemode: "tozero" }), yaxis: axis("accuracy (%)"), dragmode: false,
  }), { responsive: true, displayModeBar: false });
}

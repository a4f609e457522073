// What stands in the tabs besides the table of models: failures, claims, and the SQL box.
import { $, ask, el, number, plural } from "./dom.js";

const FEW = 20;

// Failures

let told = "";

export function drawFailures(groups, open) {
  const count = groups.reduce((sum, group) => sum + group.count, 0);
  $("failures-count").textContent = count || "";
  const now = JSON.stringify(groups);
  if (now === told) return; // an open traceback stays open
  told = now;
  const panel = $("failures-panel");
  if (!groups.length) return panel.replaceChildren(el("p", { class: "quiet" }, "No stage has failed."));
  return panel.replaceChildren(...groups.map((group) => failure(group, open)));
}

function failure(group, open) {
  const line = (one) => el("li", {}, el("button", { type: "button", class: "link key", onclick: () => open(one.key) }, one.key), ` ${one.settings}`,
    one.blocks ? el("span", { class: "quiet" }, ` – blocks ${plural(one.blocks, "stage")}`) : null);
  const stages = group.stages ?? [];
  const more = group.count > Math.min(FEW, stages.length) ? el("li", { class: "quiet" }, `and ${group.count - Math.min(FEW, stages.length)} more`) : null;
  const trace = el("details", {}, el("summary", {}, "Traceback"), el("pre", { tabindex: 0, class: "traceback", "aria-label": "Traceback" }, "Reading …"));
  trace.addEventListener("toggle", async () => {
    if (!trace.open) return;
    try {
      trace.lastChild.textContent = (await ask(`api/stages/${group.key}`)).traceback || "The store has no traceback of it.";
    } catch (error) {
      trace.lastChild.textContent = error.message;
    }
  });
  return el("div", { class: "group" }, el("h3", {}, `${plural(group.count, "stage")} failed`), el("p", { class: "error" }, group.error ?? "no error was kept"),
    el("ul", { class: "plain" }, stages.slice(0, FEW).map(line), more), trace);
}

// Claims

const known = { sweep: null, changes: null, at: 0 };
const OUTCOMES = ["supported", "contradicted", "not decided", "not run"];

// Judge again if results came since; at most every ten seconds, as it reads them all.
export async function drawClaims(sweep, changes) {
  if ((known.sweep === sweep && known.changes === changes) || (known.sweep === sweep && Date.now() - known.at < 10000)) return;
  if (known.sweep !== sweep) $("claims-panel").replaceChildren(el("p", { class: "quiet" }, "Judging …"));
  Object.assign(known, { sweep, changes, at: Date.now() });
  let parts;
  try {
    const { verdicts } = await ask(`api/claims?${new URLSearchParams({ sweep })}`);
    const meaning = el("p", { class: "quiet small" }, "Supported or contradicted: the 95 % interval of the mean over seeds lies wholly inside or outside the bound. Not decided: it spans the bound, or there is but one seed.");
    parts = verdicts.length ? [meaning, ...verdicts.map(verdict)] : [el("p", { class: "quiet" }, "This sweep tests no claim of the paper.")];
    if (known.sweep === sweep) $("claims-count").textContent = verdicts.length ? `${verdicts.filter((one) => one.outcome === "supported").length}/${verdicts.length}` : "";
  } catch (error) {
    parts = [el("p", { class: "quiet" }, error.message)];
  }
  if (known.sweep === sweep) $("claims-panel").replaceChildren(...parts);
}

export const forgetClaims = () => {
  known.sweep = null;
  $("claims-count").textContent = "";
};

const outcome = (said) => el("span", { class: `outcome ${OUTCOMES.includes(said) ? said.replace(" ", "-") : ""}` }, said);

function verdict(one) {
  const head = ["measure", "ours (95 % interval)", "paper", "rule", "verdict"].map((name) => el("th", { scope: "col" }, name));
  const lines = one.findings.map((found) => el("tr", {}, el("td", {}, found.measure, found.note ? el("div", { class: "quiet" }, found.note) : null),
    el("td", {}, found.ours), el("td", {}, found.paper || "–"), el("td", {}, found.rule), el("td", {}, outcome(found.outcome))));
  return el("div", { class: "group" }, el("h3", {}, `Claim ${one.number}: ${one.text} `, outcome(one.outcome)), el("p", { class: "quiet" }, [one.source, one.where].filter(Boolean).join(". ")),
    one.outcome === "not run" ? null : el("div", { class: "scroll" }, el("table", { class: "claims" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, lines))),
    one.note ? el("p", { class: "quiet" }, one.note) : null);
}

// SQL

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
const examples = (sweep) => ({
  "mean by init": `SELECT init_text, count(*) AS models, avg(test_accuracy) AS test_accuracy, stddev_samp(test_accuracy) AS std,\n  avg(train_seconds) AS train_seconds\nFROM results WHERE sweep = ${quoted(sweep)} AND status = 'done'\nGROUP BY ALL ORDER BY test_accuracy DESC`,
  "best ten": `SELECT test_accuracy, train_seconds, init_text, lr, batch_size, seed, key\nFROM results WHERE sweep = ${quoted(sweep)}\nORDER BY test_accuracy DESC NULLS LAST LIMIT 10`,
  "curve of the best": `SELECT epoch, train_accuracy, test_accuracy FROM epochs\nWHERE key = (SELECT key FROM results WHERE sweep = ${quoted(sweep)} ORDER BY test_accuracy DESC NULLS LAST LIMIT 1)\nORDER BY epoch`,
});

export function setUpSql(sweepNow) {
  $("examples").replaceChildren(...Object.keys(examples("")).map((name) => el("button", { type: "button", class: "link", onclick: () => {
    $("sql").value = examples(sweepNow())[name];
    run();
  } }, name)));
  $("sql-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  $("sql").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  $("tables").addEventListener("toggle", async () => {
    const inside = $("tables").lastElementChild;
    if (!$("tables").open || inside.children.length) return;
    try {
      const tables = await ask("api/tables");
      inside.replaceChildren(...tables.map(({ name, columns }) => [el("h3", {}, name), el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, columns.map((column) =>
        el("tr", {}, el("td", {}, el("code", {}, column.name)), el("td", { class: "quiet" }, [column.type, column.unit].filter(Boolean).join(", ")), el("td", {}, column.sentence))))))]).flat());
    } catch (error) {
      inside.replaceChildren(el("p", { class: "error" }, error.message));
    }
  });
}

let asked = 0;

async function run() {
  const mine = ++asked, said = $("sql-said");
  said.className = "quiet";
  said.textContent = "Running …";
  try {
    const found = await ask("api/sql", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql: $("sql").value }) });
    if (mine !== asked) return;
    said.textContent = `${found.is_more ? `The first ${plural(found.rows.length, "row")}; there are more` : plural(found.rows.length, "row")}, in ${found.seconds.toFixed(2)} s.`;
    const isNumber = found.columns.map((_, at) => found.rows.some((row) => typeof row[at] === "number"));
    const cell = (value, at) => el("td", { class: isNumber[at] && "number", title: typeof value === "number" && String(value) }, value === null ? el("span", { class: "quiet" }, "null") : typeof value === "object" ? JSON.stringify(value) : number(value));
    $("sql-rows").replaceChildren(el("thead", {}, el("tr", {}, found.columns.map((name, at) => el("th", { scope: "col", class: isNumber[at] && "number" }, name)))),
      el("tbody", {}, found.rows.map((row) => el("tr", {}, row.map(cell)))));
  } catch (error) {
    if (mine !== asked) return;
    said.className = "error";
    said.textContent = error.message;
    $("sql-rows").replaceChildren();
  }
}

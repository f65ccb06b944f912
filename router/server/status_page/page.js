// Reads status.json once a second and shows it. Names, texts and reasons come from clients and
// upstreams: they reach the page as text only (textContent), never as markup.

const SCHEMA_VERSION = 1;
const EVERY_MS = 1000;
const TIMEOUT_MS = 5000;
const N_COLOURS = 8; // arms beyond them share one grey
const SVG = "http://www.w3.org/2000/svg";

const REASONS = {
  "best-tradeoff": "Best balance of expected accuracy and cost, at the trade-off in force.",
  "target-met": "The cheapest arm that is expected to reach the target accuracy.",
  "target-unreachable": "No arm is expected to reach the target accuracy: the likeliest to be right was taken.",
  "within-cap": "The likeliest to be right among the arms within the cost cap.",
  "only-arm": "There was no other arm to choose from.",
  "cheapest": "No arm is expected to cost less.",
  "most-accurate": "No arm is expected to be right more often.",
  "explored": "Chosen by chance, to keep learning about arms that are rarely chosen.",
  "caller-cap": "The caller may not have a better arm now: its share of dear arms is used up.",
  "arm-unavailable": "The model of a better arm is not served now.",
  "arms-restricted": "A better arm was left out: the caller asked for others.",
  "conversation-kept": "The conversation stays with its arm: reading it again would cost more than another arm gains.",
  "look-first": "A first answer, whose evidence decides whether another arm is asked.",
  "answer-kept": "The first answer's evidence was good enough: no other arm was asked.",
  "escalated": "The first answer's evidence was too weak: another arm was asked.",
  "task-given": "The type of task was given by the caller.",
  "task-guessed": "The type of task was guessed from the prompt.",
  "few-outcomes": "The router knows fewer than 50 questions: take its probabilities as rough.",
};

const byId = (id) => document.getElementById(id);

/** Write a text only where it changed: readers of live regions speak every change. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Numbers -----------------------------------------------------------------------------------------

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const THREE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const TRIPLE = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const NONE = "–";
const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
const minus = (text) => text.replace("-", "−");

function count(value) {
  if (value === null) return NONE;
  return Math.abs(value) < 1e6 ? minus(WHOLE.format(value)) : scaled(value, "");
}

/** Three significant digits with a prefix: 3.2e15 is 3.2 P. */
function scaled(value, unit) {
  const power = Math.floor(Math.log10(Math.abs(value) || 1) / 3);
  const step = Math.min(Math.max(power, 0), PREFIXES.length - 1);
  return minus(`${THREE.format(value / 1000 ** step)} ${PREFIXES[step]}${unit}`.trimEnd());
}

const share = (value) => (value === null ? NONE : minus(PERCENT.format(value)));

function duration(seconds) {
  if (seconds === null) return NONE;
  return seconds < 1 ? `${TRIPLE.format(seconds * 1000)} ms` : `${TRIPLE.format(seconds)} s`;
}

function span(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.max(0, Math.floor(seconds))} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const clock = (seconds) => TIME.format(new Date(seconds * 1000));

function plural(n, one, many) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

// Tiles -------------------------------------------------------------------------------------------

function tile(id, value, note, isBad = false) {
  const node = byId(id);
  say(node.querySelector(".value"), value);
  say(node.querySelector(".note"), note);
  node.classList.toggle("bad", isBad);
}

function savedNote(saved) {
  if (saved.n_known === 0) return "unknown so far";
  const whom = `n = ${count(saved.n_known)}`;
  if (saved.share === null) return whom;
  // More than always reasoning would have used is a loss, and said to be one.
  return `${share(saved.share)} of always reasoning, ${whom}`;
}

function showTiles(status) {
  const { tokens, flops } = status.saved;
  const { added } = status.latency;
  const { totals } = status;
  tile("tile-tokens", tokens.n_known ? count(tokens.saved) : NONE, savedNote(tokens), tokens.saved < 0);
  tile("tile-flops", flops.n_known ? scaled(flops.saved, "FLOP") : NONE, savedNote(flops), flops.saved < 0);
  tile("tile-added", duration(added.p50_s),
    added.n ? `median; p95 ${duration(added.p95_s)}` : "no decision in 15 min");
  tile("tile-requests", count(totals.n_requests),
    `${count(totals.prompt_tokens)} tokens in, ${count(totals.completion_tokens)} out`);
  tile("tile-errors", count(totals.n_errors),
    `${share(totals.n_requests ? totals.n_errors / totals.n_requests : 0)} of requests`,
    totals.n_errors > 0);
}

// Traffic -----------------------------------------------------------------------------------------

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Draw the counts of the last seconds as bars; it is stretched to its box: a second is one wide. */
function chart(values) {
  const most = Math.max(...values);
  const bars = values.map((n, at) => `M${at + 0.1},39 V${(39 - (37 * n) / (most || 1)).toFixed(2)} h0.8 V39 Z`);
  const picture = svg("svg", {
    viewBox: `0 0 ${values.length} 40`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Decisions in each of the last ${values.length} seconds: ${most} at most`,
  });
  picture.append(
    svg("path", { class: "ground", d: `M0,39.5 H${values.length}` }),
    svg("path", { class: "bars", d: bars.join(" ") }),
  );
  return picture;
}

function showTraffic(status) {
  const values = status.rate.per_second;
  say(byId("rate"), `${THREE.format(status.rate.last_10_s)}/s`);
  byId("chart").replaceChildren(
    chart(values), make("span", "most", `max ${count(Math.max(...values))}`));
  say(byId("in-flight"), count(status.n_in_flight));
  say(byId("waiting"), count(status.n_waiting));
  const { decision } = status.latency;
  say(byId("decision-time"), decision.n ? `${duration(decision.p50_s)}, p95 ${duration(decision.p95_s)}` : NONE);
}

// Arms --------------------------------------------------------------------------------------------

const colours = new Map(); // an arm keeps its colour while the page is open

function colour(arm) {
  if (!colours.has(arm)) colours.set(arm, Math.min(colours.size, N_COLOURS));
  return `c${colours.get(arm)}`;
}

let armsSpan = "last_15_min";

function showArms(status) {
  status.arms.since_start.map(({ arm }) => arm).sort().forEach(colour);
  const arms = status.arms[armsSpan];
  const shown = arms.slice(0, N_COLOURS);
  const rest = arms.slice(N_COLOURS);
  const items = shown.map(({ arm, n, share: part }) => ({ label: arm, n, part, className: colour(arm) }));
  if (rest.length > 0) {
    const sum = (key) => rest.reduce((total, item) => total + item[key], 0);
    items.push({ label: plural(rest.length, "other arm", "other arms"), n: sum("n"), part: sum("share"), className: `c${N_COLOURS}` });
  }
  const bar = byId("bar");
  bar.hidden = items.length === 0;
  byId("no-arms").hidden = items.length > 0;
  bar.setAttribute("aria-label", items.map(({ label, part }) => `${label} ${share(part)}`).join(", "));
  bar.replaceChildren(...items.map(({ n, className }) => {
    const piece = make("span", className);
    piece.style.flexGrow = n;
    return piece;
  }));
  byId("legend").replaceChildren(...items.map(({ label, n, part, className }) => {
    const item = make("li");
    item.append(make("span", `swatch ${className}`), make("bdi", "name", label),
      make("span", "part", share(part)), make("span", "n quiet", count(n)));
    return item;
  }));
}

function chooseSpan(name) {
  armsSpan = name;
  byId("arms-lately").setAttribute("aria-pressed", String(name === "last_15_min"));
  byId("arms-all").setAttribute("aria-pressed", String(name === "since_start"));
  if (latest) showArms(latest);
}

// Upstreams and errors ----------------------------------------------------------------------------

const isDown = (upstream) => !upstream.is_up || upstream.state === "open";

function stateOf(upstream) {
  if (upstream.state === "half-open") return ["warn", "being tried again"];
  return isDown(upstream) ? ["down", "down"] : ["up", "up"];
}

function showUpstreams(status) {
  byId("upstreams").hidden = status.upstreams.length === 0;
  byId("upstream-list").replaceChildren(...status.upstreams.map((upstream) => {
    const [className, words] = stateOf(upstream);
    const item = make("li", className);
    const facts = [`${count(upstream.in_flight)} in flight`];
    if (upstream.n_failed > 0) facts.push(`${count(upstream.n_failed)} failed`);
    if (upstream.reason) facts.push(upstream.reason);
    item.append(make("span", "dot"), make("bdi", "name", upstream.model), make("span", "state", words),
      make("bdi", "url quiet", upstream.url), make("bdi", "facts quiet", facts.join(" · ")));
    return item;
  }));
}

function showErrors(status) {
  byId("error-list").replaceChildren(...status.errors.map(({ code, n }) => {
    const item = make("div");
    item.append(make("dt", "", code), make("dd", "", count(n)));
    return item;
  }));
  byId("no-errors").hidden = status.errors.length > 0;
  const log = status.decision_log;
  byId("log").hidden = log === null;
  if (log) {
    const state = log.is_down ? "cannot be written" : "is written";
    say(byId("log"), `The decision log ${state}: ${count(log.n_waiting)} waiting, ${count(log.n_dropped)} dropped.`);
  }
}

// Decisions ---------------------------------------------------------------------------------------

const rows = new Map(); // number of the decision -> its row; a decision never changes

function cell(label, className, ...content) {
  const node = make("td", className);
  node.setAttribute("role", "cell");
  node.dataset.label = label;
  node.append(...content);
  return node;
}

function twoLines(first, second) {
  const box = make("span", "lines");
  box.append(first);
  if (second) box.append(make("bdi", "second quiet", second));
  return box;
}

function armCell(decision) {
  const arm = make("span", "arm");
  arm.append(make("span", `swatch ${colour(decision.arm)}`), make("bdi", "", decision.arm));
  const { budget } = decision;
  const words = budget === null ? "" : budget === "max" ? "no cap on thinking" : `budget ${count(budget)}`;
  return cell("Arm", "by", twoLines(arm, words));
}

function askedCell(decision) {
  const box = twoLines(make("bdi", "", decision.asked), decision.caller);
  if (decision.text) box.append(make("bdi", "text quiet", decision.text));
  return cell("Asked", "asked", box);
}

function reasonsCell(decision) {
  if (decision.reasons.length === 0) return cell("Reasons", "why", make("span", "quiet", NONE));
  const button = make("button", "reasons", decision.reasons.join(" · "));
  button.type = "button";
  button.reasons = decision.reasons;
  return cell("Reasons", "why", button);
}

function makeRow(decision) {
  const row = make("tr");
  row.setAttribute("role", "row");
  const isBad = decision.error !== "" || decision.status >= 400;
  const tokens = decision.tokens === null ? NONE : count(decision.tokens);
  const saved = make("span", decision.saved_tokens < 0 ? "loss" : "", count(decision.saved_tokens));
  row.append(
    cell("Time", "when", twoLines(make("span", "", clock(decision.time_s)), decision.decision_id)),
    askedCell(decision), armCell(decision),
    cell("p", "number", decision.p === null ? NONE : decision.p.toFixed(2)),
    reasonsCell(decision),
    cell("Tokens", "number", tokens), cell("Saved", "number", saved),
    cell("Added", "number", duration(decision.added_s)),
    cell("Status", isBad ? "status bad" : "status", twoLines(make("span", "", String(decision.status)), decision.error)),
  );
  return row;
}

function showDecisions(status) {
  const numbers = new Set(status.decisions.map(({ number }) => number));
  for (const [number, row] of rows) {
    if (numbers.has(number)) continue;
    row.remove();
    rows.delete(number);
  }
  const body = byId("rows");
  for (const decision of status.decisions.toReversed()) { // the newest goes on top last
    if (rows.has(decision.number)) continue;
    const row = makeRow(decision);
    rows.set(decision.number, row);
    body.prepend(row);
  }
  if (!inTabOrder?.isConnected) makeTabStop(body.querySelector("button"));
  if (explained?.isConnected) placeTip(); // newer rows have pushed it down
  else stopExplaining();
}

// One stop of the tab key for all reasons, arrow keys between them: fifty stops would be a wall.
let inTabOrder = null;

function makeTabStop(button) {
  if (!button) return;
  for (const other of byId("rows").querySelectorAll("button")) other.tabIndex = -1;
  button.tabIndex = 0;
  inTabOrder = button;
}

function moveFocus(event) {
  const buttons = [...byId("rows").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const last = buttons.length - 1;
  const to = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  makeTabStop(buttons[to]);
  buttons[to].focus();
}

// Reasons in words --------------------------------------------------------------------------------

let explained = null;

function explain(button) {
  const tip = byId("tip");
  const list = make("dl");
  for (const code of button.reasons) {
    const words = Object.hasOwn(REASONS, code) ? REASONS[code] : "A reason of this server that this page has no words for.";
    list.append(make("dt", "", code), make("dd", "", words));
  }
  tip.replaceChildren(list);
  tip.hidden = false;
  button.setAttribute("aria-describedby", "tip");
  explained = button;
  placeTip();
}

function placeTip() {
  const tip = byId("tip");
  const box = explained.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const isRoomBelow = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${isRoomBelow ? box.bottom + 6 : Math.max(8, box.top - tip.offsetHeight - 6)}px`;
}

function stopExplaining() {
  byId("tip").hidden = true;
  explained?.removeAttribute("aria-describedby");
  explained = null;
}

function reasonsAt(event) {
  return event.target instanceof Element ? event.target.closest("button.reasons") : null;
}

// States ------------------------------------------------------------------------------------------

function showExample(status) {
  const base = new URL("v1", document.baseURI).href;
  const body = { model: status.example.model, messages: [{ role: "user", content: "What is 17 * 24?" }] };
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  say(byId("base"), base);
  say(byId("example"), [
    `curl ${base}/chat/completions`,
    "  -H 'Content-Type: application/json'",
    ...(status.example.needs_key ? ['  -H "Authorization: Bearer $THINKROUTE_KEY"'] : []),
    `  -d '${quoted}'`,
  ].join(" \\\n"));
}

/** Say what is wrong; numbers that change every second stay out, as the text is read aloud. */
function troubles(status) {
  const lines = status.upstreams.filter(isDown).map(({ model, url, reason }) =>
    `Upstream down: ${model} at ${url}${reason ? `: ${reason}` : ""}`);
  if (status.decision_log?.is_down) {
    lines.push("The decision log cannot be written. Requests are served; decisions are lost when its buffer is full.");
  }
  return lines;
}

function showBanner(lines, isUnreachable = false) {
  const banner = byId("banner");
  document.body.classList.toggle("stale", isUnreachable);
  const said = [...banner.children].map((line) => line.textContent);
  if (said.length !== lines.length || lines.some((line, at) => line !== said[at])) {
    banner.replaceChildren(...lines.map((line) => make("p", "", line)));
  }
  document.title = lines.length > 0 ? "! thinkroute" : "thinkroute";
}

let latest = null;

function show(status) {
  if (latest && latest.started_s !== status.started_s) { // another run of the server
    rows.clear();
    byId("rows").replaceChildren();
    stopExplaining();
  }
  latest = status;
  const isEmpty = status.totals.n_requests === 0;
  byId("empty").hidden = !isEmpty;
  for (const id of ["tiles", "traffic", "arms", "errors", "decisions"]) byId(id).hidden = isEmpty;
  say(byId("pulse"), `Live, up ${span(status.time_s - status.started_s)}`);
  byId("pulse").className = "pulse live";
  showBanner(troubles(status));
  showUpstreams(status);
  if (isEmpty) {
    showExample(status);
    return;
  }
  showTiles(status);
  showTraffic(status);
  showArms(status);
  showErrors(status);
  showDecisions(status);
}

function showUnreachable(problem) {
  const since = latest ? ` The numbers below are of ${clock(latest.time_s)}.` : "";
  byId("pulse").className = "pulse lost";
  say(byId("pulse"), "Not connected");
  showBanner([`${problem}${since}`], true);
}

// Polling -----------------------------------------------------------------------------------------

let timer = 0;
let round = 0; // answers to earlier questions are not shown

async function read() {
  const response = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`The server answers this page with status ${response.status}.`);
  const status = await response.json();
  if (status.schema_version !== SCHEMA_VERSION) throw new Error("The server has another version than this page: reload it.");
  return status;
}

async function poll() {
  clearTimeout(timer);
  const own = ++round;
  let status = null;
  let problem = "";
  try {
    status = await read();
  } catch (error) {
    // Errors of `read` have words for people; those of fetch differ between browsers.
    problem = error.constructor === Error ? error.message : "The server cannot be reached; trying again every second.";
  }
  if (own !== round) return;
  if (!document.hidden) timer = setTimeout(poll, EVERY_MS);
  if (status) show(status);
  else showUnreachable(problem);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) poll();
});
byId("arms-lately").addEventListener("click", () => chooseSpan("last_15_min"));
byId("arms-all").addEventListener("click", () => chooseSpan("since_start"));
byId("rows").addEventListener("keydown", moveFocus);
for (const kind of ["mouseover", "focusin", "click"]) {
  byId("rows").addEventListener(kind, (event) => {
    const button = reasonsAt(event);
    if (kind === "focusin" && button) makeTabStop(button);
    if (button) explain(button);
  });
}
for (const kind of ["mouseout", "focusout"]) {
  byId("rows").addEventListener(kind, (event) => {
    if (reasonsAt(event)) stopExplaining();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopExplaining();
});
addEventListener("scroll", () => explained && placeTip(), { passive: true });
if (navigator.clipboard) { // only over HTTPS or on this machine
  byId("copy").hidden = false;
  byId("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("example").textContent);
    say(byId("copy"), "Copied");
    setTimeout(() => say(byId("copy"), "Copy"), 2000);
  });
}
poll();

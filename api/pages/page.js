"use strict";
// Every value is set as text, never as markup: channel and campaign names come from strangers' URLs.
const at = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const TABS = ["channels", "paths", "funnel", "changes", "conversion"];
const BESIDE = ["bot", "visitor_over_limit"];
const COSTS = ["spend", "cpa", "roas", "roi"];
const RANGED = ["conversions", "revenue"];
let tab = "channels";
let models = [];
let asked = 0;

function say(text, bad) {
  at("status").textContent = text;
  at("status").className = bad ? "bad" : "";
}

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Money is text and is never made a number, which would round it: only its thousands are set apart. Weights and ratios
// are numbers with up to nine decimals, of which nobody reads more than a few.
function shown(value) {
  if (value === null || value === undefined) return "–";
  const isLong = typeof value === "number" && !Number.isInteger(value);
  const [whole, rest] = (isLong ? value.toFixed(Math.abs(value) < 1 ? 4 : 2) : String(value)).split(".");
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest === undefined ? apart : `${apart}.${rest}`;
}

function row(tag, cells, texts, kind) {
  const made = make("tr", undefined, kind);
  cells.forEach((cell, place) => {
    const box = make(tag, undefined, texts.includes(place) ? "text" : "");
    if (cell instanceof Node) box.append(cell);
    else box.textContent = texts.includes(place) || tag === "th" ? cell : shown(cell);
    made.append(box);
  });
  return made;
}

function table(title, head, lines, texts = [0], outs = []) {
  const made = make("table");
  made.createTHead().append(row("th", head, texts));
  made.createTBody().append(...lines.map((line, place) => row("td", line, texts, outs[place] ? "out" : "")));
  const wide = make("div", undefined, "wide");
  wide.append(made);
  return [make("h2", title), wide];
}

function ranged(cell, range) {
  const made = document.createDocumentFragment();
  if (range.low === range.high) return document.createTextNode(shown(cell));
  const between = make("small", `${shown(range.low)} to ${shown(range.high)}`);
  between.title = `lowest: ${range.low_models.map(words).join(", ")}; highest: ${range.high_models.map(words).join(", ")}`;
  made.append(shown(cell), between);
  return made;
}

function showCoverage({ coverage, currency, learnt }) {
  const bar = make("div", undefined, "bar");
  const key = make("ul", undefined, "key");
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `What became of ${coverage.revenue} ${currency}`);
  const robots = [];
  for (const part of coverage.parts) {
    // A robot may claim millions: what is not in the revenue would leave no room for what is.
    if (BESIDE.includes(part.name)) {
      if (part.conversions) robots.push(`${words(part.name)} ${shown(part.revenue)} (${shown(part.conversions)})`);
      continue;
    }
    const piece = make("i", undefined, part.name);
    piece.style.flexGrow = Math.max(part.share ?? 0, 0) * 1e9;
    bar.append(piece);
    const line = make("li");
    line.append(make("i", undefined, part.name), `${words(part.name)} ${shown(part.revenue)} (${shown(part.conversions)})`);
    key.append(line);
  }
  if (coverage.bot_hits) robots.push(`${shown(coverage.bot_hits)} robots' hits`);
  if (robots.length) key.append(make("li", `beside it, dropped: ${robots.join("; ")}`));
  at("coverage").replaceChildren(bar, key);
  if (learnt) {
    const percent = (part) => `${(100 * part).toFixed(1)} %`;
    const sure = learnt.shares.map((one) => `${one.channel} ${percent(one.share)} (${percent(one.low)} to ${percent(one.high)})`);
    at("coverage").append(make("p", `How sure the model is, share of each channel and its 90 % interval: ${sure.join("; ")}.`, "note"));
  }
  at("coverage").hidden = false;
}

function showChannels(answer) {
  const { coverage, currency } = answer.meta;
  const lines = answer.rows.map((cells, number) =>
    cells.map((cell, place) => {
      const name = answer.columns[place];
      return answer.spread && RANGED.includes(name) ? ranged(cell, answer.spread[number][name]) : cell;
    }),
  );
  at("answer").tHead.replaceChildren(row("th", answer.columns, [0]));
  at("answer").tBodies[0].replaceChildren(...lines.map((line) => row("td", line, [0])));
  at("answer").hidden = false;
  showCoverage(answer.meta);
  const others = coverage.other_currencies.map((other) => `${shown(other.revenue)} ${other.currency}`).join(", ");
  const converted = coverage.converted.map(
    (one) => `${shown(one.revenue)} ${one.currency} = ${shown(one.worth)} ${currency}${one.oldest_rate_days ? `, oldest rate ${counted(one.oldest_rate_days, "day")} before` : ""}`,
  );
  const { spend } = answer.meta;
  say(
    `${shown(coverage.revenue)} ${currency} in ${shown(coverage.conversions)} conversions` +
      (answer.meta.as_of ? `, as of ${answer.meta.as_of}` : "") +
      (converted.length ? `; converted: ${converted.join("; ")}` : "") +
      (others ? `; not added up: ${others}` : "") +
      (spend ? `; spend ${shown(spend.spend)} ${currency}` : "") +
      (answer.spread ? ". Small: from what to what the rule models say" : "") +
      `. ${answer.meta.elapsed_ms} ms.`,
  );
}

async function ask(path, question) {
  const response = await fetch(path, {
    method: question ? "POST" : "GET",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${at("key").value}` },
    body: question ? JSON.stringify(question) : undefined,
  });
  const answer = await response.json();
  if (response.ok) return answer;
  throw new Error(
    response.status === 401 ? "This read key is not known here. `headwater up` prints the one it made." : answer.message,
  );
}

// Everything else comes from the roll-up; visitors are counted from all sessions, so they follow when they are counted.
function addVisitors(answer) {
  const counts = new Map(answer.rows);
  at("answer").tHead.rows[0].append(row("th", ["visitors"], []).firstChild);
  for (const line of at("answer").tBodies[0].rows) {
    line.append(row("td", [counts.get(line.cells[0].textContent) ?? 0], []).firstChild);
  }
}

const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

function common() {
  return { date_range: [at("from").value || null, at("to").value || null], model: at("model").value, basis: at("basis").value };
}

async function channels(isMine) {
  const asOf = at("as_of").value || null;
  const metrics = asOf ? ["conversions", "revenue", "aov"] : ["hits", "sessions", "conversions", "revenue", "cr", "aov"];
  let question = { ...common(), dimensions: ["channel"], metrics, as_of: asOf, order_by: [["revenue", "desc"]] };
  const answer = await ask("/v1/query", question);
  if (!isMine()) return; // another question was asked meanwhile
  showChannels(answer);
  // What ads cost follows where anything was spent; most questions need not wait for it.
  const costly = { ...question, metrics: [...metrics, ...COSTS] };
  const withCosts = await ask("/v1/query", costly).catch(() => null);
  if (isMine() && withCosts?.meta.spend?.billed.length) {
    question = costly;
    showChannels(withCosts);
  }
  // Every model has to be read for the ranges, so they follow too.
  const withRanges = await ask("/v1/query", { ...question, spread: true }).catch(() => null);
  if (isMine() && withRanges) showChannels(withRanges);
  if (asOf) return;
  const { date_range } = common();
  const visitors = await ask("/v1/query", { dimensions: ["channel"], date_range, metrics: ["visitors"] }).catch(() => null);
  if (isMine() && visitors) addVisitors(visitors); // the rest is right without them
}

const LIMITS = [0, 1, 2, 3, 7, 14, 30, 60, 90];

function days(lines) {
  return LIMITS.map((low, place) => {
    const high = LIMITS[place + 1] ?? Infinity;
    return lines.filter((line) => line.days >= low && line.days < high).reduce((sum, line) => sum + line.conversions, 0);
  });
}

async function paths(isMine) {
  const query = new URLSearchParams({ limit: "25" });
  for (const name of ["from", "to", "as_of"]) if (at(name).value) query.set(name, at(name).value);
  const answer = await ask(`/v1/paths?${query}`);
  if (!isMine()) return;
  const first = days(answer.days_from_first);
  const last = days(answer.days_from_last);
  const names = LIMITS.map((low, place) => {
    const high = LIMITS[place + 1];
    return high === undefined ? `${low} and more` : high === low + 1 ? `${low}` : `${low} to ${high - 1}`;
  });
  const { totals } = answer;
  at("paths").replaceChildren(
    ...table("How people came", ["path", "conversions", "revenue"], answer.paths.map((one) => [one.channels.join(" › "), one.conversions, one.revenue])),
    ...table(
      "What part channels play",
      ["channel", "last", "assisted", "assisted / last", "takes part in", "revenue it takes part in"],
      answer.channels.map((one) => [one.channel, one.last_conversions, one.assisted_conversions, one.assist_ratio, one.participation_conversions, one.participation_revenue]),
    ),
    make("p", "Takes part in: each channel of a path counts the whole conversion, so this does not add up.", "note"),
    make("p", `Revenue: what was billed in ${answer.meta.currency}; nothing is converted, and open deals are left out.`, "note"),
    ...table("Touchpoints before a conversion", ["touchpoints", "conversions", "revenue"], answer.lengths.map((one) => [one.touchpoints, one.conversions, one.revenue])),
    ...table("Days before a conversion", ["days", "since the first touchpoint", "since the last"], names.map((name, place) => [name, first[place], last[place]])),
  );
  say(`${shown(totals.conversions)} conversions, ${shown(totals.revenue)} ${answer.meta.currency}; ` +
    `${shown(totals.unattributed_conversions)} without a touchpoint. ${answer.meta.elapsed_ms} ms.`);
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [0, "s"]];

function span(seconds) {
  if (seconds === null) return "";
  const [size, unit] = UNITS.find(([least]) => seconds >= least);
  return `${size ? (seconds / size).toFixed(1) : Math.round(seconds)} ${unit}`;
}

async function funnel(isMine) {
  const query = new URLSearchParams({ by: "channel" });
  for (const name of ["from", "to"]) if (at(name).value) query.set(name, at(name).value);
  const answer = await ask(`/v1/funnel?${query}`);
  if (!isMine()) return;
  const { totals, stages, meta } = answer;
  const percent = (part) => make("span", part === null ? "" : `${(100 * part).toFixed(1)} %`);
  const some = (many) => (many ? many : make("span", ""));
  const said = (text) => make("span", text);
  at("funnel").replaceChildren(
    ...table(
      "How far people came",
      ["stage", "persons", "of first", "of previous", "skipped previous", "lost", "median since previous", "since first", `cost each, ${meta.currency}`],
      stages.map((one) => [
        words(one.stage), one.persons, percent(one.share_of_first), percent(one.share_of_previous), some(one.skipped_previous), some(one.lost),
        said(span(one.median_seconds)), said(span(one.median_seconds_from_first)), one.cost_per_person,
      ]),
    ),
    ...table(
      "By the channel that brought them",
      ["channel", ...stages.map((one) => words(one.stage)), "spend"],
      answer.channels.map((one) => [one.channel, ...one.stages.map((stage) => stage.persons), one.spend]),
    ),
    make("p", "Persons count once a stage, over all their devices. Channel: of the first session. A person who entered in this time counts with all that he reached since.", "note"),
    ...meta.without_person.map((one) => make("p", `${words(one.stage)}: ${counted(one.conversions, "conversion")} of this time without a person.`, "note")),
  );
  say(`${shown(totals.persons)} ${totals.persons === 1 ? "person" : "persons"} entered; spend ${shown(totals.spend)} ${meta.currency}. ${meta.elapsed_ms} ms.`);
}

async function changes(isMine) {
  if (!at("since").value) return say("Choose the day since which you want to know what changed.");
  const answer = await ask("/v1/changes", { ...common(), from: at("since").value, to: at("as_of").value || null });
  if (!isMine()) return;
  const { meta } = answer;
  at("changed").replaceChildren(
    ...table("From then to now", ["", "conversions", `revenue ${meta.currency}`], [
      [`as of ${meta.since}`, answer.before.conversions, answer.before.revenue],
      ...answer.causes.map((one) => [words(one.cause), one.conversions, one.revenue]),
      [`as of ${meta.until ?? "now"}`, answer.after.conversions, answer.after.revenue],
    ]),
    ...table("Where", answer.columns, answer.rows.map((one) => [one[0], words(one[1]), one[2], one[3]]), [0, 1]),
    make("p", `Revenue: what was billed in ${meta.currency}; nothing is converted.`, "note"),
  );
  say(`${words(meta.model)}: ${shown(answer.difference.revenue)} ${meta.currency} in all. ${meta.elapsed_ms} ms.`);
}

async function conversion(isMine) {
  const reference = at("reference").value.trim();
  if (!reference) return say("Enter the id of a conversion, or of its order.");
  const answer = await ask(`/v1/conversions?order_id=${encodeURIComponent(reference)}`);
  if (!isMine()) return;
  const { conversion: facts, person, touchpoints } = answer;
  const credited = touchpoints.map((one, place) => [`#${place + 1}`, one.credits]).filter(([, credits]) => Object.keys(credits).length);
  if (Object.keys(answer.unattributed).length) credited.push(["nobody", answer.unattributed]);
  const share = (given) => make("span", given ? `${shown(given.weight)} = ${shown(given.amount)}` : "");
  const isOf = person.visitor_ids.length + person.colleague_ids.length > 1 ? (one) => [one.visitor_id] : () => [];
  at("explained").replaceChildren(
    ...table(
      `${facts.type}, ${shown(facts.value)} ${facts.currency}, ${facts.converted_at}`,
      ["#", "touched at", "channel", "source / medium", "campaign", "counts", ...isOf({ visitor_id: "visitor" })],
      touchpoints.map((one, place) => [
        `${place + 1}`, one.touched_at, one.channel, `${one.source} / ${one.medium}`, one.campaign,
        one.decision === "in" ? "yes" : `no: ${words(one.reason)}`,
        ...isOf(one),
      ]),
      [0, 1, 2, 3, 4, 5, 6],
      touchpoints.map((one) => one.decision !== "in"),
    ),
    ...(person.links.length || person.visitor_ids.length > 1
      ? table(
          `One person of ${counted(person.visitor_ids.length, "visitor")}${person.colleague_ids.length ? `, and colleagues of ${counted(person.colleague_ids.length, "visitor")}` : ""}`,
          ["visitor", "is", "said by", "at"],
          person.links.map((one) => [one.visitor_id, one.is_held ? one.id : `no longer ${one.id}`, one.event_id, one.said_at]),
          [0, 1, 2, 3],
          person.links.map((one) => !one.is_held),
        )
      : []),
    ...table("Credit", ["model", ...credited.map(([name]) => name)], Object.keys(answer.balanced).map((model) => [words(model), ...credited.map(([, credits]) => share(credits[model]))]), [0]),
    ...table(
      "Since then",
      ["recorded at", "cause", "model", "channel", "before", "after"],
      answer.corrections.flatMap((one) => one.moves.map((move) => [one.recorded_at, words(one.cause), words(move.model), move.channel, move.before, move.after])),
      [0, 1, 2, 3],
    ),
  );
  const broken = Object.entries(answer.balanced).filter(([, isBalanced]) => !isBalanced).map(([model]) => model);
  say(broken.length ? `The books do not balance: ${broken.join(", ")}` : "Credit equals the value under every model.", broken.length > 0);
}

const ANSWERS = { channels, paths, funnel, changes, conversion };

async function loadModels() {
  const key = at("key").value;
  if (!key) return;
  const answer = await ask("/v1/models");
  if (key !== at("key").value) return;
  models = answer.models;
  const chosen = at("model").value;
  at("model").replaceChildren(
    ...models.map((one) => {
      const option = make("option", one.is_credited ? words(one.name) : `${words(one.name)} (not credited here)`);
      option.value = one.name;
      return option;
    }),
  );
  at("model").value = chosen;
  showAbout();
}

function showAbout() {
  const one = models.find((model) => model.name === at("model").value);
  at("about").textContent = one ? `${one.sentence} ${one.remedy}` : "";
}

async function show() {
  const mine = ++asked;
  const isMine = () => mine === asked;
  say("Asking …");
  try {
    if (!models.length) await loadModels();
    await ANSWERS[tab](isMine);
  } catch (error) {
    // An old answer under a new question would answer it wrongly.
    if (!isMine()) return;
    at("answer").hidden = at("coverage").hidden = true;
    for (const id of ["paths", "funnel", "changed", "explained"]) at(id).replaceChildren();
    say(`No answer: ${error.message}`, true);
  }
}

function choose(name) {
  tab = name;
  for (const other of TABS) {
    at(other).hidden = other !== name;
    at(`tab-${other}`).setAttribute("aria-selected", String(other === name));
  }
  if (at("key").value) show();
}

for (const name of TABS) at(`tab-${name}`).addEventListener("click", () => choose(name));
at("model").addEventListener("change", showAbout);
at("key").addEventListener("change", async () => {
  const key = at("key").value;
  const before = asked;
  try {
    await loadModels();
  } catch (error) {
    // A refusal that comes after another key or another question says nothing of them.
    if (key === at("key").value && before === asked) say(`No answer: ${error.message}`, true);
  }
});
at("question").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});

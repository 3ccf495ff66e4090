"use strict";
// Every value is set as text, never as markup: channel and campaign names come from strangers' URLs.
const at = (id) => document.getElementById(id);

function say(text, bad) {
  at("status").textContent = text;
  at("status").className = bad ? "bad" : "";
}

// An old table under a new question would answer it wrongly.
function refuse(text) {
  at("answer").hidden = true;
  say(text, true);
}

function line(tag, cells) {
  const row = document.createElement("tr");
  for (const cell of cells) {
    const box = document.createElement(tag);
    box.textContent = cell === null ? "–" : String(cell);
    row.append(box);
  }
  return row;
}

function show(answer) {
  const { coverage, currency } = answer.meta;
  at("answer").tHead.replaceChildren(line("th", answer.columns));
  at("answer").tBodies[0].replaceChildren(...answer.rows.map((row) => line("td", row)));
  at("answer").hidden = false;
  const others = coverage.other_currencies.map((other) => `${other.revenue} ${other.currency}`).join(", ");
  say(
    `${coverage.revenue} ${currency} in all: ${coverage.attributed_revenue} attributed, ` +
      `${coverage.unattributed_revenue} without a touchpoint` +
      (others ? `; not added up: ${others}` : "") +
      `. ${answer.meta.elapsed_ms} ms.`,
    false,
  );
}

async function ask(question) {
  const response = await fetch("/v1/query", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${at("key").value}` },
    body: JSON.stringify(question),
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
  at("answer").tHead.rows[0].append(line("th", ["visitors"]).firstChild);
  for (const row of at("answer").tBodies[0].rows) {
    row.append(line("td", [counts.get(row.cells[0].textContent) ?? 0]).firstChild);
  }
}

let asked = 0;

at("question").addEventListener("submit", async (event) => {
  event.preventDefault();
  const mine = ++asked;
  const common = { dimensions: ["channel"], date_range: [at("from").value || null, at("to").value || null] };
  say("Asking …", false);
  try {
    const answer = await ask({
      ...common,
      metrics: ["hits", "sessions", "conversions", "revenue", "cr", "aov"],
      model: at("model").value,
      basis: at("basis").value,
      order_by: [["revenue", "desc"]],
    });
    if (mine !== asked) return; // another question was asked meanwhile
    show(answer);
    const visitors = await ask({ ...common, metrics: ["visitors"] }).catch(() => null); // the rest is right without them
    if (mine === asked && visitors) addVisitors(visitors);
  } catch (error) {
    if (mine === asked) refuse(`No answer: ${error.message}`);
  }
});

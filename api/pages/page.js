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

at("question").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("Asking …", false);
  try {
    const response = await fetch("/v1/query", {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${at("key").value}` },
      body: JSON.stringify({
        metrics: ["hits", "visitors", "sessions", "conversions", "revenue", "cr", "aov"],
        dimensions: ["channel"],
        date_range: [at("from").value || null, at("to").value || null],
        model: at("model").value,
        basis: at("basis").value,
        order_by: [["revenue", "desc"]],
      }),
    });
    const answer = await response.json();
    if (response.ok) show(answer);
    else refuse(response.status === 401 ? "This read key is not known here. `headwater up` prints the one it made." : answer.message);
  } catch (error) {
    refuse(`No answer: ${error.message}`);
  }
});

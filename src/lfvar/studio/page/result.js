// Make samples, watch them come, compare them with the original, take them along.

import { follow, get, own, post, waitingNote } from "./api.js";
import { $, attempt, format, make, say } from "./dom.js";
import { currentMask, erases } from "./mask.js";
import { lesionRequest } from "./lesion.js";
import { picture } from "./picture.js";

let running = null;
let shown = null; // {ticket, number}
let results = null;

function working(is) {
  $("#generate").disabled = is;
  $("#stop").hidden = $("#progress").hidden = !is;
  if (!is) $("#progress-note").textContent = "";
}

async function generate() {
  const mask = currentMask();
  const request = { picture: { kind: picture().kind, id: picture().id }, mask, erase: erases(), ...lesionRequest() };
  say("");
  const start = performance.now();
  working(true);
  try {
    running = await post(own("edits"), request);
    let known = 0;
    const end = await follow(running, (ticket) => {
      $("#progress").value = ticket.progress;
      $("#progress-note").textContent = waitingNote(ticket);
      if (ticket.parts.length > known) {
        if (!known) {
          begin(ticket, request.samples);
          document.body.dataset.firstImageMs = Math.round(performance.now() - start);
        }
        for (; known < ticket.parts.length; known += 1) addSample(ticket, known);
      }
    });
    if (known) await finish(end);
    if (end.state === "stopped") say(known ? `Stopped after ${known} of ${request.samples} samples.` : "Stopped.");
  } finally {
    running = null;
    working(false);
  }
}

function begin(ticket, count) {
  $("#result-empty").hidden = true;
  $("#result").hidden = false;
  $("#samples-grid").replaceChildren();
  $("#measured-table").replaceChildren();
  $("#warnings").textContent = "";
  $("#download").hidden = true;
  results = null;
  wipe(0); // the sample as a whole first
  $("#wipe-before").src = own(`edits/${ticket.id}/before.png`);
  const original = make("button", { type: "button", title: "The original" }, make("img", { src: own(`edits/${ticket.id}/before.png`), alt: "Original" }), "original");
  original.addEventListener("click", () => wipe(100));
  $("#samples-grid").append(original);
  if (matchMedia("(max-width: 1080px)").matches) $("#result-panel").scrollIntoView({ behavior: "smooth", block: "start" });
}

function addSample(ticket, number) {
  const address = own(`edits/${ticket.id}/${number}.png`);
  const seed = Number($("#seed").value) + number;
  const button = make("button", { type: "button" }, make("img", { src: address, alt: `Sample ${number + 1}` }), `${number + 1} · seed ${seed}`);
  button.dataset.number = number;
  button.addEventListener("click", () => { pick(ticket.id, number); if (Number($("#wipe-range").value) > 95) wipe(0); });
  $("#samples-grid").append(button);
  if (number === 0) pick(ticket.id, 0);
}

function pick(ticket, number) {
  shown = { ticket, number };
  $("#wipe-after").src = own(`edits/${ticket}/${number}.png`);
  for (const button of document.querySelectorAll("#samples-grid button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.number) === number));
  }
  showTable();
}

async function finish(ticket) {
  results = await get(own(`edits/${ticket.id}`));
  $("#warnings").textContent = results.warnings.join(". ");
  $("#download").href = own(`edits/${ticket.id}/bundle.zip`);
  $("#download").hidden = ticket.state !== "done";
  showTable();
}

function showTable() {
  if (!results?.rows.length) return;
  const chosen = (number) => (number === shown.number ? "chosen" : "");
  const head = make("tr", {}, make("th", { textContent: "measured" }), ...(results.has_before ? [make("th", { textContent: "before" })] : []),
    make("th", { textContent: "asked" }), ...results.seeds.map((_, n) => make("th", { textContent: `#${n + 1}`, className: chosen(n) })));
  const rows = results.rows.map((row) => {
    const asked = { free: "free", mask: "by mask" }[row.asked_by]
      ?? (row.asked.every((value) => value === row.asked[0]) ? format(row.asked[0]) : format(row.asked[shown.number]));
    return make("tr", { className: row.asked_by === "you" ? "set" : "", title: row.meaning },
      make("td", { textContent: row.title + (row.unit ? ` (${row.unit})` : "") }),
      ...(results.has_before ? [make("td", { textContent: format(row.before) })] : []),
      make("td", { textContent: asked }),
      ...row.measured.map((value, n) => make("td", { className: chosen(n) }, format(value),
        ...(n !== shown.number || row.percentile[n] === null || row.percentile[n] === undefined ? [] : [make("small", { textContent: `P${Math.round(row.percentile[n])}` })]))));
  });
  $("#measured-table").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function wipe(percent) {
  $("#wipe-range").value = percent;
  $("#wipe-after").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("#wipe-line").style.left = `calc(${percent}% - 1px)`;
  $("#wipe .left").hidden = percent < 12;
  $("#wipe .right").hidden = percent > 88;
}

export function startResult() {
  $("#generate").addEventListener("click", () => attempt(generate));
  $("#stop").addEventListener("click", () => attempt(async () => {
    if (running) await post(own(`tickets/${running.id}/stop`));
  }));
  $("#wipe-range").addEventListener("input", () => wipe(Number($("#wipe-range").value)));
  const box = $("#wipe");
  const drag = (event) => {
    const place = box.getBoundingClientRect();
    wipe(Math.min(100, Math.max(0, (100 * (event.clientX - place.left)) / place.width)));
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); drag(event); });
  box.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  wipe(50);
}

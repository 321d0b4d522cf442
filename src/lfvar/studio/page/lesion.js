// What the lesion shall be: type, measurements, guidance; and the sentence that fills all of it.

import { get, own, post } from "./api.js";
import { $, attempt, fillSelect, format, make, say } from "./dom.js";
import { picture, whenPicture } from "./picture.js";
import { setShape } from "./mask.js";

let state = null;
let ranges = {};
let prompt = null;
const knobs = new Map(); // name → {about, box, free, slider, field, note, percent: null | 0…100, value: null | number}

export function lesionRequest() {
  const measurements = {};
  for (const [name, knob] of knobs) if (!knob.free.checked) measurements[name] = readField(knob);
  const strength = $("#measurement-strength").value;
  return {
    label: $("#type").value || null,
    measurements,
    rest: $("#rest").value,
    class_strength: readNumber("#class-strength", "The guidance"),
    measurement_strength: strength === "" ? null : Number(strength),
    samples: readNumber("#samples", "The number of samples"),
    seed: readNumber("#seed", "The seed"),
    prompt,
  };
}

function readNumber(selector, what) {
  const value = Number($(selector).value);
  if ($(selector).value === "" || !Number.isFinite(value)) throw new Error(`${what} is no number.`);
  return value;
}

function readField(knob) {
  const value = Number(knob.field.value);
  if (knob.field.value === "" || !Number.isFinite(value)) throw new Error(`${knob.about.title} is no number. Leave it free, or give one.`);
  return knob.value ?? value;
}

// Between quantiles at 0, 1/n, … 1.
function valueAt(quantiles, percent) {
  const place = (percent / 100) * (quantiles.length - 1);
  const below = Math.min(Math.floor(place), quantiles.length - 2);
  return quantiles[below] + (place - below) * (quantiles[below + 1] - quantiles[below]);
}

function percentOf(quantiles, value) {
  const steps = quantiles.length - 1;
  if (value <= quantiles[0]) return 0;
  for (let i = 0; i < steps; i += 1) {
    if (value <= quantiles[i + 1]) {
      const span = quantiles[i + 1] - quantiles[i];
      return (100 * (i + (span > 0 ? (value - quantiles[i]) / span : 0.5))) / steps;
    }
  }
  return 100;
}

function showKnob(knob) {
  const range = ranges[knob.about.name];
  knob.box.classList.toggle("free", knob.free.checked);
  knob.field.hidden = knob.note.hidden = knob.free.checked;
  knob.slider.disabled = !range;
  if (knob.free.checked) return;
  knob.field.value = knob.value === null ? "" : format(knob.value);
  const percent = range && knob.value !== null ? percentOf(range, knob.value) : null;
  if (percent !== null) knob.slider.value = percent;
  knob.note.textContent = percent === null ? knob.about.unit : `${knob.about.unit} P${Math.round(percent)}`;
  knob.marks.textContent = range ? `P5 ${format(valueAt(range, 5))} · P50 ${format(valueAt(range, 50))} · P95 ${format(valueAt(range, 95))}` : "no lesion of this type has it";
}

function setPercent(knob, percent) {
  const range = ranges[knob.about.name];
  if (!range) return;
  knob.percent = percent;
  knob.value = valueAt(range, percent);
  showKnob(knob);
}

function setValue(knob, value) {
  knob.percent = null;
  knob.value = value;
  showKnob(knob);
}

function addKnob(about) {
  const free = make("input", { type: "checkbox", checked: true, id: `free-${about.name}` });
  const slider = make("input", { type: "range", min: 0, max: 100, step: 1, value: 50, ariaLabel: `${about.title}, percentile` });
  const field = make("input", { type: "number", step: "any", ariaLabel: `${about.title}, value` });
  const note = make("span");
  const marks = make("span");
  const box = make("div", { className: "knob free", title: about.meaning },
    make("span", { textContent: about.title }),
    make("span", { className: "value" }, field, note, make("label", {}, free, "leave free")),
    make("div", { className: "track" }, slider,
      make("div", { className: "ends" }, make("span", { textContent: about.low }), marks, make("span", { textContent: about.high }))));
  box.dataset.name = about.name;
  const knob = { about, box, free, slider, field, note, marks, percent: 50, value: null };
  knobs.set(about.name, knob);
  free.addEventListener("change", () => {
    if (!free.checked && knob.value === null) setPercent(knob, 50);
    showKnob(knob);
  });
  slider.addEventListener("input", () => setPercent(knob, Number(slider.value)));
  field.addEventListener("change", () => { if (field.value !== "") setValue(knob, Number(field.value)); });
  $("#knobs").append(box);
  showKnob(knob);
  return knob;
}

async function changeType() {
  const label = $("#type").value;
  ranges = await get(`/api/ranges${label ? `?type=${encodeURIComponent(label)}` : ""}`);
  for (const knob of knobs.values()) {
    if (knob.percent !== null && knob.value !== null) setPercent(knob, knob.percent); // the type's own range
    else showKnob(knob);
  }
}

async function fillIn() {
  const text = $("#prompt").value.trim();
  if (!text) throw new Error("Write a sentence first: “a large, dark melanoma”.");
  say("");
  $("#understood").hidden = true;
  const found = await post(own("prompt"), { text });
  prompt = text;
  $("#type").value = found.label ?? "";
  for (const knob of knobs.values()) knob.free.checked = true;
  await changeType();
  for (const [name, asked] of Object.entries(found.measurements)) {
    const about = state.knobs.find((item) => item.name === name);
    if (!about) continue;
    const knob = knobs.get(name) ?? addKnob(about);
    knob.free.checked = false;
    setValue(knob, asked.value);
    if (asked.probability !== null && asked.probability !== undefined) knob.percent = 100 * asked.probability;
  }
  $("#samples").value = found.asked_samples > 1 ? found.samples : $("#samples").value;
  const head = make("tr", {}, ...found.columns.map((title) => make("th", { textContent: title })));
  const rows = found.rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell }))));
  $("#understood").replaceChildren(
    make("div", { textContent: found.shape ? "Understood; the mask is drawn to it:" : "Understood:" }), make("table", {}, head, ...rows));
  if (found.samples < found.asked_samples) $("#understood").append(make("div", { textContent: `At most ${found.samples} samples at once.` }));
  $("#understood").hidden = false;
  if (found.shape && picture()) await setShape(found.shape);
}

export function startLesion(given) {
  state = given;
  fillSelect($("#type"), [["", "any type"], ...state.classes.map((label) => [label, label])]);
  for (const about of state.knobs.filter((item) => item.main)) addKnob(about);
  if (!state.knobs.length) $("#knobs").append(make("p", { className: "quiet", textContent: "This model was trained without measurements." }));
  $("#more-knobs").append(...state.knobs.filter((item) => !item.main).map((item) => make("option", { value: item.name, label: item.title })));
  $("#add-knob").parentElement.hidden = !state.knobs.some((item) => !item.main);
  $("#rest").parentElement.hidden = !state.knobs.length;
  $("#add-knob").addEventListener("change", () => attempt(() => {
    const name = $("#add-knob").value.trim();
    if (!name) return;
    const about = state.knobs.find((item) => item.name === name);
    if (!about) throw new Error(`This model does not know a measurement “${name}”. Choose one of the list.`);
    const knob = knobs.get(name) ?? addKnob(about);
    knob.free.checked = false;
    if (knob.value === null) setPercent(knob, 50);
    showKnob(knob);
    $("#add-knob").value = "";
  }));
  $("#class-strength").value = state.guidance.class_strength;
  $("#measurement-strength").value = state.guidance.measurement_strength ?? "";
  $("#samples").max = state.limits.samples;
  $("#type").addEventListener("change", () => attempt(changeType));
  $("#prompt-form").addEventListener("submit", (event) => { event.preventDefault(); attempt(fillIn); });
  $("#prompt").addEventListener("input", () => { prompt = null; });
  $("#new-seed").addEventListener("click", () => { $("#seed").value = Math.floor(Math.random() * 1e6); });
  $("#prompt-form").hidden = !state.has_profiles;
  whenPicture((next) => attempt(async () => {
    $("#rest option[value=source]").disabled = next.kind !== "dataset";
    if (next.kind !== "dataset" && $("#rest").value === "source") $("#rest").value = "none";
    if (next.label && state.classes.includes(next.label) && prompt === null) $("#type").value = next.label;
    await changeType();
  }));
}

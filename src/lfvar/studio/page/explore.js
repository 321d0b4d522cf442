// The dataset on a plane, what its types measure, and how training went.

import { get, imageAddress } from "./api.js";
import { $, attempt, chosen, format, make, makeSvg } from "./dom.js";
import { chooseImage } from "./picture.js";

let state = null;
let plane = null;
let hiddenTypes = new Set();
let picked = null;
let showTab = () => {};
let begun = false;

const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const colourOf = (type) => (type.colour === "#000000" && dark() ? "#e6e6e6" : type.colour);

async function loadPlane() {
  $("#map-note").textContent = "placing the images …";
  try {
    plane = await get(`/api/explore?method=${chosen("map")}`);
  } catch (error) {
    $("#map-note").textContent = error.message;
    $("#map").hidden = true;
    return;
  }
  const counts = plane.types.map((_, index) => plane.points.filter((point) => point[2] === index).length);
  $("#map-note").textContent = plane.points.length < plane.total
    ? `${plane.points.length} of ${plane.total} images` : `${plane.total} images`;
  $("#map-legend").replaceChildren(...plane.types.map((type, index) => {
    const dot = make("span", { className: "dot" });
    dot.style.background = colourOf(type);
    const button = make("button", { type: "button", className: "chip" }, dot, `${type.label} ${counts[index]}`);
    button.setAttribute("aria-pressed", String(!hiddenTypes.has(index)));
    button.addEventListener("click", () => {
      if (!hiddenTypes.delete(index)) hiddenTypes.add(index);
      button.setAttribute("aria-pressed", String(!hiddenTypes.has(index)));
      draw();
    });
    return button;
  }));
  draw();
}

// From numbers of the plane to pixels of the canvas; outliers may lie outside.
function scale() {
  const canvas = $("#map");
  const spread = (axis) => {
    const sorted = plane.points.map((point) => point[axis]).sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    const [low, high] = [at(0.002), at(0.998)];
    const margin = 0.06 * (high - low || 1);
    return [low - margin, high + margin];
  };
  const [x, y] = [spread(0), spread(1)];
  return (point) => [
    ((point[0] - x[0]) / (x[1] - x[0])) * canvas.clientWidth,
    canvas.clientHeight - 18 - ((point[1] - y[0]) / (y[1] - y[0])) * (canvas.clientHeight - 18),
  ];
}

function draw() {
  const canvas = $("#map");
  if (!plane || !canvas.clientWidth) return;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const place = scale();
  const radius = plane.points.length > 3000 ? 2 : 3.5;
  context.globalAlpha = 0.8;
  for (const point of plane.points) {
    if (hiddenTypes.has(point[2])) continue;
    const [x, y] = place(point);
    context.fillStyle = colourOf(plane.types[point[2]]);
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fill();
  }
  context.globalAlpha = 1;
  const ink = getComputedStyle(document.body).color;
  if (picked) {
    const [x, y] = place(picked);
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, radius + 5, 0, 7);
    context.stroke();
  }
  context.fillStyle = ink;
  context.font = "11px system-ui, sans-serif";
  context.fillText(`→ ${plane.titles[0]}   ↑ ${plane.titles[1]}`, 4, canvas.clientHeight - 5);
}

async function pickAt(event) {
  if (!plane) return;
  const box = $("#map").getBoundingClientRect();
  const [left, top] = [event.clientX - box.left, event.clientY - box.top];
  const place = scale();
  let best = null;
  for (const point of plane.points) {
    if (hiddenTypes.has(point[2])) continue;
    const [x, y] = place(point);
    const distance = Math.hypot(x - left, y - top);
    if (distance < 24 && (!best || distance < best.distance)) best = { point, distance };
  }
  if (!best) return;
  picked = best.point;
  draw();
  await showImage(picked[3]);
}

async function showImage(id) {
  const image = await get(`/api/images/${encodeURIComponent(id)}`);
  if (picked?.[3] !== id) return; // another point was clicked meanwhile
  const edit = make("button", { type: "button", className: "main", textContent: "Edit this image" });
  edit.addEventListener("click", () => attempt(async () => { await chooseImage(id); showTab("edit"); }));
  const rows = image.rows.map((row) => make("tr", { title: row.meaning }, make("td", { textContent: row.title }),
    make("td", { textContent: `${format(row.value)} ${row.unit}` }),
    make("td", { textContent: row.percentile === null ? "" : `P${Math.round(row.percentile)}` })));
  $("#point").replaceChildren(make("img", { src: imageAddress(id, "image"), alt: id }),
    make("p", { textContent: `${id} · ${image.label} · ${image.split}` }), edit, make("div", { className: "scroll" }, make("table", {}, ...rows)));
  $("#point").hidden = false;
  $("#point-empty").hidden = true;
}

async function loadProfiles() {
  const { knobs, types } = await get("/api/profiles");
  if (!types.length) {
    $("#profiles").replaceChildren(make("p", { className: "quiet", textContent: "There are no profiles: the training images are not measured." }));
    return;
  }
  const colours = new Map((plane?.types ?? []).map((type) => [type.label, colourOf(type)]));
  $("#profiles").replaceChildren(...knobs.filter((knob) => types.some((type) => type.quantiles[knob.name])).map((knob) => {
    const there = types.filter((type) => type.quantiles[knob.name]);
    const all = there.flatMap((type) => type.quantiles[knob.name]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const place = (value) => 62 + (232 * (value - low)) / (high - low || 1);
    const strips = there.flatMap((type, line) => {
      const [p5, p25, p50, p75, p95] = type.quantiles[knob.name].map(place);
      const y = 9 + line * 15;
      const colour = colours.get(type.label) ?? "currentColor";
      return [
        makeSvg("text", { x: 0, y: y + 3.5 }, type.label),
        makeSvg("line", { x1: p5, x2: p95, y1: y, y2: y, stroke: colour, "stroke-width": 1.5 }),
        makeSvg("rect", { x: p25, width: Math.max(1, p75 - p25), y: y - 4, height: 8, rx: 2, fill: colour, "fill-opacity": 0.45 }),
        makeSvg("line", { x1: p50, x2: p50, y1: y - 5, y2: y + 5, stroke: colour, "stroke-width": 2.5 }),
      ];
    });
    const bottom = there.length * 15 + 12;
    return make("div", { title: knob.meaning }, make("h3", { textContent: knob.title + (knob.unit ? ` (${knob.unit})` : "") }),
      makeSvg("svg", { viewBox: `0 0 300 ${bottom}`, role: "img", "aria-label": knob.title }, ...strips,
        makeSvg("text", { x: 62, y: bottom - 2 }, format(low)), makeSvg("text", { x: 294, y: bottom - 2, "text-anchor": "end" }, format(high))));
  }));
}

async function showTraining() {
  const response = await fetch(`/api/training/${$("#training-range").value}.png`);
  if (!response.ok) return;
  $("#training-step").textContent = `step ${response.headers.get("x-step")}`;
  const old = $("#training-picture").src;
  $("#training-picture").src = URL.createObjectURL(await response.blob());
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
}

export function showExplore() {
  if (begun) { draw(); return; }
  begun = true;
  attempt(async () => {
    if (state.num_images) await loadPlane();
    else $("#map-note").textContent = "There is no prepared dataset.";
    await loadProfiles();
    if (state.num_training_pictures) await showTraining();
  });
}

export function startExplore(given, show) {
  [state, showTab] = [given, show];
  $("#map").addEventListener("click", (event) => attempt(() => pickAt(event)));
  for (const input of document.querySelectorAll('input[name="map"]')) {
    input.addEventListener("change", () => attempt(() => { picked = null; return loadPlane(); }));
  }
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (begun) attempt(async () => { await loadPlane(); await loadProfiles(); }); });
  $("#training-panel").hidden = !state.num_training_pictures;
  $("#training-range").max = Math.max(0, state.num_training_pictures - 1);
  $("#training-range").value = $("#training-range").max;
  $("#training-range").addEventListener("input", () => attempt(showTraining));
}

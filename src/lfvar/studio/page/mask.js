// Where the lesion goes: the dataset's own mask, a painted one, a drawn shape, or a file.

import { imageAddress, own, post, upload } from "./api.js";
import { $, attempt, choose, chosen, format, make, say } from "./dom.js";
import { picture, whenPicture } from "./picture.js";

const SHAPE = [
  // name, title, low, high, step, start
  ["relative_area", "Area", 0.01, 0.6, 0.01, 0.15],
  ["centre_x", "Left – right", 0, 1, 0.01, 0.5],
  ["centre_y", "Up – down", 0, 1, 0.01, 0.5],
  ["asymmetry", "Asymmetry", 0, 1, 0.01, 0.2],
  ["irregularity", "Border", 0, 1, 0.01, 0.2],
  ["elongation", "Elongation", 1, 3, 0.05, 1.2],
  ["orientation", "Direction", 0, 3.14, 0.02, 0],
];
const UNDO = 12;

const easel = $("#easel-mask");
const mask = document.createElement("canvas"); // white where the lesion is, else transparent
let shape = { ...Object.fromEntries(SHAPE.map((entry) => [entry[0], entry[5]])), seed: 0 };
let fileId = null;
let strokes = [];
let dirty = false; // painted on since it was own, drawn or a file
let knobs = [];

export function currentMask() {
  if (!picture()) throw new Error("Choose a picture first.");
  const kind = chosen("mask");
  if (kind === "own") return { kind };
  if (kind === "drawn") return { kind, ...shape };
  if (kind === "file" && fileId) return { kind, id: fileId };
  if (kind === "file") throw new Error("Choose the file of the mask first.");
  return { kind: "painted", png: maskAsPng() };
}

export const erases = () => !$("#erase-row").hidden && $("#erase").checked;

export function setShape(next) {
  shape = { ...shape, ...next };
  choose("mask", "drawn");
  showTools();
  fillShape();
  return drawShape();
}

function maskAsPng() {
  const flat = document.createElement("canvas");
  [flat.width, flat.height] = [mask.width, mask.height];
  const context = flat.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, flat.width, flat.height);
  context.drawImage(mask, 0, 0);
  return flat.toDataURL("image/png").split(",")[1];
}

function show() {
  const context = easel.getContext("2d");
  context.clearRect(0, 0, easel.width, easel.height);
  context.globalCompositeOperation = "source-over";
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--mask").trim();
  context.fillRect(0, 0, easel.width, easel.height);
}

function clear() {
  mask.getContext("2d").clearRect(0, 0, mask.width, mask.height);
  show();
}

// Black and white to white and transparent.
async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const context = mask.getContext("2d", { willReadFrequently: true });
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, mask.width, mask.height);
  context.drawImage(image, 0, 0, mask.width, mask.height);
  const pixels = context.getImageData(0, 0, mask.width, mask.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i] >= 128 ? 255 : 0;
  context.putImageData(pixels, 0, 0);
  strokes = [];
  show();
}

function tell(measured) {
  $("#mask-measured").replaceChildren(...knobs.filter((knob) => knob.name in measured).map((knob) =>
    make("span", { className: "chip", title: knob.meaning, textContent: `${knob.title.replace(/ \(.*/, "")} ${format(measured[knob.name])}` })));
}

let drawing = null;
async function drawShape() {
  if (!picture()) return;
  const asked = { picture: { kind: picture().kind, id: picture().id }, mask: { kind: "drawn", ...shape } };
  const mine = (drawing = Symbol("drawing"));
  const drawn = await post(own("shape"), asked);
  if (mine !== drawing || chosen("mask") !== "drawn") return; // a later move of a slider is on its way
  await load(`data:image/png;base64,${drawn.png}`);
  dirty = false;
  tell(drawn.measured);
}

async function takeFile(file) {
  if (!file || !picture()) return;
  say("");
  const { kind, id } = picture();
  const found = await upload(own(`masks?kind=${kind}&picture=${encodeURIComponent(id)}`), file);
  fileId = found.id;
  await load(`data:image/png;base64,${found.png}`);
  dirty = false;
  tell(found.measured);
}

function showTools() {
  const kind = chosen("mask");
  for (const name of ["painted", "drawn", "file"]) $(`#mask-${name}`).hidden = kind !== name;
  $("#erase-row").hidden = !(picture()?.kind === "dataset" && picture().hasLesion && kind !== "own");
  if (kind !== "drawn" && kind !== "file") tell({});
}

async function changeKind() {
  showTools();
  if (!picture()) return;
  const kind = chosen("mask");
  if (kind === "own") await load(imageAddress(picture().id, "mask"));
  if (kind === "drawn") await drawShape();
  if (kind === "file" && !fileId) clear();
}

function fillShape() {
  for (const [name] of SHAPE) {
    $(`#shape-${name}`).value = shape[name];
    $(`#shape-${name}-value`).value = format(Number(shape[name]));
  }
}

function makeShapeTools() {
  let timer = 0;
  const grid = make("div", { className: "shape" });
  for (const [name, title, min, max, step] of SHAPE) {
    const input = make("input", { type: "range", id: `shape-${name}`, min, max, step });
    input.addEventListener("input", () => {
      shape[name] = Number(input.value);
      $(`#shape-${name}-value`).value = format(shape[name]);
      clearTimeout(timer);
      timer = setTimeout(() => attempt(drawShape), 60);
    });
    grid.append(make("label", { htmlFor: input.id, textContent: title }), input, make("output", { id: `shape-${name}-value` }));
  }
  const again = make("button", { type: "button", className: "plain", textContent: "Another outline" });
  again.addEventListener("click", () => { shape.seed += 1; attempt(drawShape); });
  $("#mask-drawn").append(grid, make("div", { className: "row" }, again));
  fillShape();
}

function makeBrush() {
  let last = null;
  const place = (event) => {
    const box = easel.getBoundingClientRect();
    return [(event.clientX - box.left) * easel.width / box.width, (event.clientY - box.top) * easel.height / box.height];
  };
  const stroke = (to) => {
    const context = mask.getContext("2d");
    context.globalCompositeOperation = chosen("brush") === "erase" ? "destination-out" : "source-over";
    context.strokeStyle = "#fff";
    context.lineWidth = Number($("#brush-size").value);
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
    show();
  };
  easel.addEventListener("pointerdown", (event) => {
    if (!picture() || event.button !== 0) return;
    event.preventDefault();
    easel.setPointerCapture(event.pointerId);
    if (chosen("mask") !== "painted") { // whatever is there is retouched
      choose("mask", "painted");
      showTools();
    }
    strokes.push(mask.getContext("2d").getImageData(0, 0, mask.width, mask.height));
    if (strokes.length > UNDO) strokes.shift();
    dirty = true;
    last = place(event);
    stroke([last[0] + 0.01, last[1]]);
  });
  easel.addEventListener("pointermove", (event) => { if (last) stroke(place(event)); });
  for (const kind of ["pointerup", "pointercancel"]) easel.addEventListener(kind, () => { last = null; });
  $("#mask-undo").addEventListener("click", () => {
    const before = strokes.pop();
    if (before) mask.getContext("2d").putImageData(before, 0, 0);
    show();
  });
  $("#mask-clear").addEventListener("click", () => {
    strokes.push(mask.getContext("2d").getImageData(0, 0, mask.width, mask.height));
    clear();
  });
}

export function startMask(state) {
  knobs = state.shape_knobs;
  makeShapeTools();
  makeBrush();
  for (const input of document.querySelectorAll('input[name="mask"]')) {
    input.addEventListener("change", () => attempt(changeKind));
  }
  const file = $("#mask-file-input");
  file.addEventListener("change", () => attempt(async () => { await takeFile(file.files[0]); file.value = ""; }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  choose("mask", "painted");
  whenPicture((next) => attempt(async () => {
    $("#easel-empty").hidden = true;
    $("#easel-picture").src = next.address;
    const ownInput = document.querySelector('input[name="mask"][value="own"]');
    ownInput.disabled = !next.hasLesion;
    const kind = chosen("mask");
    const keep = kind === "drawn" || (kind === "painted" && dirty && mask.width === next.view.width && mask.height === next.view.height);
    if (!keep || mask.width !== next.view.width || mask.height !== next.view.height) {
      for (const canvas of [mask, easel]) [canvas.width, canvas.height] = [next.view.width, next.view.height];
    }
    fileId = null;
    strokes = [];
    if (!keep) choose("mask", next.hasLesion ? "own" : "painted");
    show();
    await changeKind();
  }));
}

// Which picture is edited: one of the dataset, or a file.

import { get, imageAddress, own, upload } from "./api.js";
import { $, attempt, choose, chosen, fillSelect, make, say } from "./dom.js";

let current = null; // {kind, id, name, label, view: {width, height}, address, hasLesion}
let listPage = 0;
const listeners = [];

export const picture = () => current;
export const whenPicture = (tell) => listeners.push(tell);

function setPicture(next) {
  current = next;
  for (const button of document.querySelectorAll("#browse-strip button")) {
    button.setAttribute("aria-selected", String(next.kind === "dataset" && button.dataset.id === next.id));
  }
  $("#picture-name").textContent = next.kind === "dataset" ? `${next.id} · ${next.label}` : next.name;
  for (const tell of listeners) tell(next);
}

export async function chooseImage(id) {
  const image = await get(`/api/images/${encodeURIComponent(id)}`);
  const side = viewSide();
  choose("from", "dataset");
  showSource();
  setPicture({
    kind: "dataset", id, name: id, label: image.label, hasLesion: image.has_lesion,
    view: { width: side, height: side }, address: imageAddress(id, "image"),
  });
}

let imageSize = 64;
const viewSide = () => (imageSize <= 640 ? imageSize * Math.floor(640 / imageSize) : 640);

function showSource() {
  $("#from-dataset").hidden = chosen("from") !== "dataset";
  $("#from-file").hidden = chosen("from") !== "file";
}

async function list() {
  const asked = new URLSearchParams({
    type: $("#browse-type").value, split: $("#browse-split").value, text: $("#browse-text").value, page: listPage,
  });
  const found = await get(`/api/images?${asked}`);
  $("#browse-strip").replaceChildren(...found.images.map((image) => {
    const button = make("button", { type: "button", role: "option", title: `${image.id} · ${image.label} · ${image.split}` },
      make("img", { src: imageAddress(image.id, "image"), alt: `${image.id}, ${image.label}`, loading: "lazy", width: 60, height: 60 }));
    button.dataset.id = image.id;
    button.setAttribute("aria-selected", String(current?.id === image.id));
    button.addEventListener("click", () => attempt(() => chooseImage(image.id)));
    return button;
  }));
  $("#browse-where").textContent = found.total
    ? `${found.total} images, page ${found.page + 1} of ${found.pages}` : "no image of that kind";
  $("#browse-back").disabled = found.page <= 0;
  $("#browse-on").disabled = found.page + 1 >= found.pages;
  return found;
}

async function take(file) {
  if (!file) return;
  say("");
  const found = await upload(own("photographs"), file);
  setPicture({
    kind: "upload", id: found.id, name: `${found.name} · ${found.width} × ${found.height}`, label: null, hasLesion: false,
    view: found.view, address: own(`photographs/${found.id}/view.png`),
  });
}

export async function startPicture(state) {
  imageSize = state.image_size;
  fillSelect($("#browse-type"), [["", "all types"], ...state.types.map((t) => [t, t])]);
  fillSelect($("#browse-split"), [["", "all splits"], ...state.splits.map((s) => [s, s])]);
  $("#drop-limits").textContent =
    `up to ${state.limits.upload_megabytes} MB and ${state.limits.megapixels} megapixels; deleted when this page closes`;
  for (const input of document.querySelectorAll('input[name="from"]')) input.addEventListener("change", showSource);
  const restart = () => attempt(() => { listPage = 0; return list(); });
  for (const id of ["#browse-type", "#browse-split"]) $(id).addEventListener("change", restart);
  let timer = 0;
  $("#browse-text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(restart, 250); });
  $("#browse-back").addEventListener("click", () => attempt(() => { listPage -= 1; return list(); }));
  $("#browse-on").addEventListener("click", () => attempt(() => { listPage += 1; return list(); }));
  const file = $("#photograph-file");
  file.addEventListener("change", () => attempt(async () => { await take(file.files[0]); file.value = ""; }));
  const drop = $("#drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") attempt(() => take(event.dataTransfer.files[0]));
    });
  }
  if (!state.num_images) {
    choose("from", "file");
    document.querySelector('input[name="from"][value="dataset"]').disabled = true;
    showSource();
    return;
  }
  if (state.splits.includes("test")) $("#browse-split").value = "test";
  const found = await list();
  if (found.images.length) await chooseImage(found.images[0].id);
}

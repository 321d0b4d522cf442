// The blind test: images one by one, an answer each, the score at the end.

import { follow, get, own, post, waitingNote } from "./api.js";
import { $, attempt, fillSelect, make, say } from "./dom.js";

let test = null; // {id, count, number, since}

async function start() {
  say("");
  const request = {
    rater: $("#judge-rater").value, trials: Number($("#judge-trials").value), seed: Number($("#judge-seed").value),
    label: $("#judge-type").value || null,
  };
  const button = $("#judge-start button");
  button.disabled = true;
  $("#judge-progress").hidden = false;
  try {
    const end = await follow(await post(own("tests"), request), (ticket) => {
      $("#judge-progress").value = ticket.progress;
      $("#judge-note").textContent = waitingNote(ticket);
    });
    if (end.state !== "done") return;
    test = { id: end.id, count: request.trials, number: 0, since: 0 };
    $("#judge-start").hidden = true;
    $("#judge-result").hidden = true;
    $("#judge-trial").hidden = false;
    await ask();
  } finally {
    button.disabled = false;
    $("#judge-progress").hidden = true;
    $("#judge-note").textContent = "";
  }
}

async function ask() {
  allow(false);
  $("#judge-count").textContent = `Image ${test.number + 1} of ${test.count}`;
  $("#judge-image").src = own(`tests/${test.id}/${test.number}.png`);
  await $("#judge-image").decode();
  test.since = performance.now();
  allow(true);
}

// Only while an image is there to be judged.
function allow(is) {
  $("#judge-real").disabled = $("#judge-synthetic").disabled = !is;
}

async function answer(said) {
  if (!test || $("#judge-real").disabled) return;
  allow(false);
  const seconds = (performance.now() - test.since) / 1000;
  try {
    await post(own(`tests/${test.id}/answers`), { trial: test.number, answer: said, seconds });
  } catch (error) {
    if (error.status !== 409) { // 409: it had arrived, only the reply was lost
      allow(true); // the answer did not arrive: it can be given again
      throw error;
    }
  }
  test.number += 1;
  if (test.number < test.count) await ask();
  else await finish();
}

async function finish() {
  const found = await get(own(`tests/${test.id}/summary`));
  const bar = (name, share) => {
    const [low, high, middle] = [share.low, share.high, share.share].map((value) => 100 * value);
    const [range, mark] = [make("i"), make("b")];
    range.style.left = `${low}%`;
    range.style.width = `${high - low}%`;
    mark.style.left = `calc(${middle}% - 1px)`;
    return make("div", {}, make("div", { textContent: `${name}: ${share.right} of ${share.count} right, ${Math.round(middle)} % (95 % interval ${Math.round(low)} to ${Math.round(high)} %)` }),
      make("div", { className: "bar" }, range, mark, make("u")));
  };
  const verdict = found.told_apart
    ? "The interval does not hold one half: real and synthetic can be told apart, or are taken for each other."
    : "The interval holds one half: this test does not show that they can be told apart.";
  const again = make("button", { type: "button", className: "plain", textContent: "Another test" });
  again.addEventListener("click", () => {
    $("#judge-result").hidden = true;
    $("#judge-start").hidden = false;
    $("#judge-seed").value = Number($("#judge-seed").value) + 1;
  });
  const save = make("a", { className: "button", href: own(`tests/${test.id}/answers.csv`), textContent: "Download answers (CSV)" });
  save.setAttribute("download", "");
  const thumbnails = found.trials.map((trial, number) => make("button", { type: "button", tabIndex: -1, title: trial.image },
    make("img", { src: own(`tests/${test.id}/${number}.png`), alt: trial.truth }), `${trial.truth}${trial.answer === trial.truth ? "" : " ✗"}`));
  $("#judge-result").replaceChildren(
    bar("All", found.shares.all), bar("Real", found.shares.real), bar("Synthetic", found.shares.synthetic),
    make("p", { textContent: verdict }), make("p", { className: "quiet", textContent: `Median ${found.seconds.toFixed(1)} s per image. Kept in ${found.file}` }),
    make("div", { className: "row" }, save, again), make("div", { className: "samples" }, ...thumbnails));
  $("#judge-trial").hidden = true;
  $("#judge-result").hidden = false;
  test = null;
}

export function startJudge(state) {
  fillSelect($("#judge-type"), [["", "all, evenly"], ...state.types.map((label) => [label, label])]);
  $("#judge-trials").max = state.limits.trials;
  $("#judge-what").textContent = "Half of the images are real, half are not, in random order. "
    + (state.judge_makes ? "Synthetic ones are made when you start: lesions painted on other images, with their type and mask."
      : "Synthetic ones are from the generated folder that the studio was started with.");
  $("#judge-start").addEventListener("submit", (event) => { event.preventDefault(); attempt(start); });
  $("#judge-real").addEventListener("click", () => attempt(() => answer("real")));
  $("#judge-synthetic").addEventListener("click", () => attempt(() => answer("synthetic")));
  addEventListener("keydown", (event) => {
    if (!test || $("#judge").hidden || event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() === "r") attempt(() => answer("real"));
    if (event.key.toLowerCase() === "s") attempt(() => answer("synthetic"));
  });
}

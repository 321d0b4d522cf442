// The page as a whole: tabs, what the model is, messages.

import { get, openPage } from "./api.js";
import { $, $$, attempt, make, say } from "./dom.js";
import { startExplore, showExplore } from "./explore.js";
import { startJudge } from "./judge.js";
import { startLesion } from "./lesion.js";
import { startMask } from "./mask.js";
import { startPicture } from "./picture.js";
import { startResult } from "./result.js";

export function showTab(name) {
  for (const tab of $$('[role="tab"]')) tab.setAttribute("aria-selected", String(tab.id === `tab-${name}`));
  for (const panel of $$('[role="tabpanel"]')) panel.hidden = panel.id !== name;
  if (name === "explore") showExplore();
}

$("#message button").addEventListener("click", () => say(""));
for (const tab of $$('[role="tab"]')) tab.addEventListener("click", () => showTab(tab.id.slice(4)));

await attempt(async () => {
  const state = await get("/api/state");
  for (const [name, text] of Object.entries(state.about)) {
    $("#about dl").append(make("dt", { textContent: name }), make("dd", { textContent: text }));
  }
  await openPage();
  startMask(state);
  startLesion(state);
  startResult(state);
  startExplore(state, showTab);
  startJudge(state);
  await startPicture(state);
  document.body.dataset.ready = "yes";
});

// The parts of the session pages that keep themselves up to date, and the verdict on a recording.
"use strict";

{
  for (const element of document.querySelectorAll("[data-source][data-topics]")) {
    const part = window.skerry.refreshable(element);
    window.skerry.follow(element.dataset.topics.split(" "), () => part.refresh());
  }

  const panel = document.getElementById("verification");
  if (panel) {
    const source = panel.dataset.source;
    const part = window.skerry.refreshable(panel, { patience: 30_000 });
    const state = () => panel.querySelector("[data-state]")?.dataset.state;

    let isBusy = false;
    window.skerry.onward(panel);

    const check = async (anew) => {
      if (isBusy) return;
      isBusy = true;
      panel.dataset.source = anew ? `${source}?again=1` : source;
      const isDone = await window.skerry.pursue(part, () => state() === "checking");
      panel.dataset.source = source;
      isBusy = false;
      if (isDone) window.skerry.say(panel.querySelector(".verdict")?.textContent ?? "");
    };

    panel.addEventListener("click", (event) => {
      if (!event.target.closest("#check-recording")) return;
      event.preventDefault();
      check(true);
    });
    if (!state()) check(false);
  }
}

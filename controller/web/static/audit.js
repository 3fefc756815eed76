// The state of the audit log's chain: looked at when the page opens, and when one asks.
"use strict";

{
  const panel = document.getElementById("chain");
  const part = window.skerry.refreshable(panel, { patience: 30_000 });
  window.skerry.onward(panel);

  const isChecking = () => panel.querySelector("[data-state]")?.dataset.state === "checking";

  let isBusy = false;

  async function check() {
    if (isBusy) return;
    isBusy = true;
    const isDone = await window.skerry.pursue(part, isChecking);
    isBusy = false;
    if (isDone) window.skerry.say(panel.querySelector(".status")?.textContent ?? "");
  }

  panel.addEventListener("click", (event) => {
    if (!event.target.closest("#check-chain")) return;
    event.preventDefault();
    check();
  });
  check();
}

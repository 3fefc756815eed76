// The page that waits for a device: it asks what has become of the token, and says so when the device is there.
"use strict";

const place = document.getElementById("arrivals");
const arrivals = window.skerry.refreshable(place);
let before = place.firstElementChild?.dataset.state;

place.addEventListener("refreshed", () => {
  const { state } = place.firstElementChild.dataset;
  if (state !== before) window.skerry.say(document.getElementById("arrival").textContent);
  before = state;
  putLinesAway();
});

// The lines are of no use once the token is used up: what comes next stands in what has arrived.
function putLinesAway() {
  if (!("used" in place.firstElementChild.dataset)) return;
  for (const part of document.querySelectorAll("[data-line]")) part.remove();
}

putLinesAway();
window.skerry.follow(["nodes", "audit"], () => arrivals.refresh());

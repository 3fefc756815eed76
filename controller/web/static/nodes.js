// The nodes table keeps itself up to date, and follows the search box as one types.
"use strict";

const place = document.getElementById("nodes");
const table = window.skerry.refreshable(place);
const search = document.getElementById("q");

async function narrow() {
  const url = new URL(location.href);
  url.searchParams.delete("page");
  if (search.value.trim()) url.searchParams.set("q", search.value);
  else url.searchParams.delete("q");
  history.replaceState(null, "", url);
  if (await table.refresh({ overtake: true })) tellMatches();
}

// Who does not see the table is told what has become of it.
function tellMatches() {
  window.skerry.say(place.querySelector("caption, .empty h2")?.textContent ?? "");
}

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(narrow, 120);
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  narrow();
});
window.skerry.follow(["nodes", "sessions"], () => table.refresh());

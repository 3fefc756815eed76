// The first page keeps itself up to date.
"use strict";

const figures = window.skerry.refreshable(document.getElementById("figures"));
window.skerry.follow(["nodes", "sessions", "recordings", "audit"], () => figures.refresh());

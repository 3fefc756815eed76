// The nodes table keeps itself up to date, and follows the search box as one types.
"use strict";

const EVERY_MS = 4000;
const PATIENCE_MS = 10_000;
// A page that nobody looks at must not keep its sign-in alive: it stops asking, and the sign-in ends in its time.
const UNATTENDED_MS = 20 * 60_000;

const table = document.getElementById("nodes");
const search = document.getElementById("q");
const banner = document.getElementById("stale");
let shown = null;
let asked = 0;
let failures = 0;
let timer = 0;
let attended = Date.now();
let ended = false;

function address() {
  const wanted = new URL(location.href).searchParams;
  return table.dataset.source + (wanted.size ? `?${wanted}` : "");
}

function tell(text, link) {
  banner.hidden = !text;
  banner.replaceChildren(text);
  if (!link) return;
  const anchor = document.createElement("a");
  anchor.href = link;
  anchor.textContent = "Sign in again";
  banner.append(" ", anchor);
}

function put(html) {
  if (html === shown) return;
  const selection = getSelection();
  if (!selection.isCollapsed && table.contains(selection.anchorNode)) return; // somebody is copying: the next round will do
  const key = table.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  table.replaceChildren(...parsed.body.childNodes);
  window.skerry.prepare(table);
  shown = html;
  if (key) table.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

async function refresh() {
  const turn = ++asked;
  try {
    const reply = await fetch(address(), {
      headers: { "X-Skerry-Script": "1" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (reply.status === 401) {
      ended = true;
      tell("Your sign-in has ended.", table.dataset.login);
      return;
    }
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    const html = await reply.text();
    if (turn !== asked) return; // a later question has been asked meanwhile
    failures = 0;
    tell("");
    put(html);
  } catch {
    if (turn === asked && ++failures > 1) tell("The controller does not answer. What you see may be out of date; trying again…");
  }
}

async function tick() {
  const idle = Date.now() - attended > UNATTENDED_MS;
  if (!document.hidden && !idle) await refresh();
  if (!ended) timer = setTimeout(tick, EVERY_MS);
}

function attend() {
  const away = Date.now() - attended > UNATTENDED_MS;
  attended = Date.now();
  if (away && !ended) refresh();
}

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const url = new URL(location.href);
    url.searchParams.delete("page");
    if (search.value.trim()) url.searchParams.set("q", search.value);
    else url.searchParams.delete("q");
    history.replaceState(null, "", url);
    if (!ended) refresh();
  }, 120);
});
search.form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  event.preventDefault();
  search.focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || ended) return;
  attend();
  clearTimeout(timer);
  tick();
});
for (const kind of ["pointermove", "pointerdown", "keydown", "scroll"]) addEventListener(kind, attend, { passive: true });
timer = setTimeout(tick, EVERY_MS);

// What every page may use: the theme switch, copy buttons, password buttons, times in the person's own zone,
// dialogs, keys, and text from peers made visible.
"use strict";

const THEMES = ["auto", "light", "dark"];
const root = document.documentElement;

function say(text) {
  document.getElementById("said").textContent = text;
}

function showTheme(button) {
  const theme = root.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  button.title = `Theme: ${theme === "auto" ? "as the system" : theme}`;
  button.setAttribute("aria-label", `${button.title}. Switch to ${next === "auto" ? "the system's" : next}`);
  return next;
}

function switchTheme(button) {
  const next = showTheme(button);
  if (next === "auto") delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    localStorage.setItem("skerry-theme", next);
  } catch {
    // Not remembered, then; it holds for this page.
  }
  showTheme(button);
}

async function copy(button) {
  const code = button.parentElement.querySelector("code") ?? button.parentElement;
  const label = button.textContent;
  const name = button.getAttribute("aria-label") ?? label;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    getSelection().selectAllChildren(code);
    say("Selected: copy it with the keyboard");
    return;
  }
  if (button.classList.contains("done")) return;
  button.textContent = "Copied";
  button.setAttribute("aria-label", name.replace(/^Copy/, "Copied"));
  button.classList.add("done");
  say("Copied");
  setTimeout(() => {
    button.textContent = label;
    button.setAttribute("aria-label", name);
    button.classList.remove("done");
  }, 1600);
}

function reveal(button) {
  const input = document.getElementById(button.dataset.reveal);
  const shown = input.type === "password";
  input.type = shown ? "text" : "password";
  button.textContent = shown ? "Hide" : "Show";
  button.setAttribute("aria-pressed", String(shown));
  input.focus();
}

function count(input) {
  const place = document.querySelector(`[data-count-for="${input.id}"]`);
  const length = [...input.value].length;
  const { shortest, longest } = input.dataset;
  const left = Number(shortest) - length;
  place.classList.toggle("good", length > 0 && left <= 0 && length <= Number(longest));
  if (length === 0) place.textContent = "";
  else if (left > 0) place.textContent = ` ${left} more to go.`;
  else if (length > Number(longest)) place.textContent = ` ${length - Number(longest)} too many.`;
  else place.textContent = " Long enough.";
}

// Also called by scripts that put new rows on a page.
function prepare(part) {
  for (const button of part.querySelectorAll("button[hidden]")) button.hidden = false;
  for (const time of part.querySelectorAll("time[datetime]")) {
    // "long" has the seconds, and says which zone they are of.
    const timeStyle = time.classList.contains("exact") ? "long" : "short";
    const text = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle });
    if (time.classList.contains("local")) time.textContent = text;
    else time.title = (time.dataset.before ?? "") + text;
  }
}

// Like `protocol.table.escape_text`: what does not show itself is written out, and nothing is longer than `most`.
function plain(text, most = 300) {
  const characters = [...String(text).slice(0, 4 * most)];
  const kept = characters.length > most ? [...characters.slice(0, most - 1), "…"] : characters;
  const shown = (character) => {
    if (character === " " || !/[\p{C}\p{Z}]/u.test(character)) return character;
    const code = character.codePointAt(0);
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  };
  return kept.map(shown).join("");
}

function signInAgain() {
  return `/web/login?next=${encodeURIComponent(location.pathname + location.search)}`;
}

// The line at the top of a page that says what is wrong with what one sees. What is said `forGood` stays.
let isSaidForGood = false;

function warn(text, link = null, { forGood = false } = {}) {
  const banner = document.getElementById("stale");
  if (!banner || (isSaidForGood && !forGood)) return;
  isSaidForGood = forGood;
  banner.hidden = !text;
  banner.replaceChildren(text);
  if (!link) return;
  const anchor = document.createElement("a");
  anchor.href = link;
  anchor.textContent = "Sign in again";
  banner.append(" ", anchor);
}

function ended() {
  warn("Your sign-in has ended.", signInAgain(), { forGood: true });
}

function openDialog(id) {
  const dialog = document.getElementById(id);
  if (dialog && !dialog.open) dialog.showModal();
}

const PLACES = { h: "/web/home", n: "/web/nodes", s: "/web/sessions", r: "/web/recordings" };
let going = 0;

// Single keys can be switched off (WCAG 2.1.4): who speaks to the machine may say one by accident.
function hasSingleKeys() {
  return document.querySelector("[data-keys-switch]")?.checked ?? true;
}

function keepSingleKeys(event) {
  try {
    localStorage.setItem("skerry-keys", event.target.checked ? "on" : "off");
  } catch {
    // Not remembered, then; it holds for this page.
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape") closeAll();
  if (!hasSingleKeys()) return;
  if (event.target.closest("input, textarea, select, [contenteditable], dialog[open], .terminal, .xterm")) return;
  const isPlace = Date.now() - going < 1500 && Object.hasOwn(PLACES, event.key);
  going = event.key === "g" ? Date.now() : 0;
  const search = document.querySelector("input[type=search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "?") openDialog("keys");
  else if (isPlace && document.body.classList.contains("inside")) location.assign(PLACES[event.key]);
}

// Closes every open question and the menu, but for those around `around`; the focus goes back to what opened them.
function closeAll(around = null) {
  for (const details of document.querySelectorAll("details.confirm[open], details.menu[open]")) {
    if (around && details.contains(around)) continue;
    const held = details.contains(document.activeElement);
    details.open = false;
    if (held) details.querySelector("summary").focus();
  }
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => {
  closeAll(event.target);
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-dialog]")) openDialog(button.dataset.dialog);
  else if (button.matches("[data-dismiss]")) closeAll();
  else if (button.matches("[data-theme-switch]")) switchTheme(button);
  else if (button.matches("[data-copy]")) copy(button);
  else if (button.matches("[data-reveal]")) reveal(button);
});

document.addEventListener("submit", (event) => {
  // One click, one request: a second one would bring a code that is spent.
  const button = event.target.method === "post" && event.target.querySelector("button:not([type=button])");
  if (!button) return;
  if (button.dataset.sent) event.preventDefault();
  button.dataset.sent = "yes";
});

addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-sent]")) delete button.dataset.sent;
});

for (const input of document.querySelectorAll("[data-shortest]")) input.addEventListener("input", () => count(input));
for (const button of document.querySelectorAll("[data-theme-switch]")) showTheme(button);
for (const box of document.querySelectorAll("[data-keys-switch]")) {
  try {
    box.checked = localStorage.getItem("skerry-keys") !== "off";
  } catch {
    // Storage is switched off: they are on.
  }
  box.addEventListener("change", keepSingleKeys);
}
prepare(document);
window.skerry = { prepare, say, plain, warn, ended, openDialog };

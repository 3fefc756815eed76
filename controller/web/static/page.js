// What every page may use: the theme switch, copy buttons, password buttons, times in the person's own zone.
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
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    getSelection().selectAllChildren(code);
    say("Selected: copy it with the keyboard");
    return;
  }
  button.textContent = "Copied";
  button.classList.add("done");
  say("Copied");
  setTimeout(() => {
    button.textContent = "Copy";
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
    const text = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    if (time.classList.contains("local")) time.textContent = text;
    else time.title = (time.dataset.before ?? "") + text;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-theme-switch]")) switchTheme(button);
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
prepare(document);
window.skerry = { prepare, say };

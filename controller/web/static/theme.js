// Before the first paint: the theme the person has chosen in this browser, if any.
"use strict";
try {
  const chosen = localStorage.getItem("skerry-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is switched off: the system's theme it is.
}
document.documentElement.classList.add("scripted");

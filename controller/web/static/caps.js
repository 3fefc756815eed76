// Says beside a password field that Caps Lock is on: what is typed cannot be seen.
"use strict";

for (const input of document.querySelectorAll("input[type=password]")) {
  const hint = document.createElement("p");
  hint.className = "caps";
  hint.setAttribute("role", "status");
  input.closest(".field").append(hint);
  const show = (event) => {
    const isOn = Boolean(event.getModifierState && event.getModifierState("CapsLock")) && input.type === "password";
    const text = isOn ? "Caps Lock is on." : "";
    if (hint.textContent !== text) hint.textContent = text;
  };
  for (const kind of ["keydown", "keyup", "focus", "mousedown"]) input.addEventListener(kind, show);
  input.addEventListener("blur", () => (hint.textContent = ""));
}

// The form of a new lock: the line below it does what is chosen, and the names that it suggests are of that kind.
"use strict";

{
  const form = document.getElementById("lock");
  const line = document.getElementById("line");
  const code = line.querySelector("code");
  const button = line.querySelector("[data-copy]");

  function quote(text) {
    return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;
  }

  function follow() {
    const given = new FormData(form);
    const [kind, name, why, span] = ["kind", "value", "message", "ttl"].map((field) => (given.get(field) ?? "").trim());
    const words = ["tctl", "lock", `--${kind || "user"}=${name ? quote(name) : "NAME"}`];
    if (why) words.push(`--message=${quote(why)}`);
    if (span) words.push(`--ttl=${span}`);
    code.textContent = words.join(" ");
    button.dataset.copy = words.join(" ");
    form.elements.value.setAttribute("list", `known-${kind || "user"}`);
  }

  form.addEventListener("input", follow);
  follow();
}

// The player of a session's recording, and its controls: all that can be done with the mouse can be done with keys.
"use strict";

{
  const MARKS_SHOWN = 200;
  const ARRIVING_MS = 6000;
  const place = document.getElementById("player");
  const tools = document.getElementById("player-tools");
  const status = document.getElementById("player-status");
  const position = document.getElementById("position");
  const clock = document.getElementById("clock");
  const marks = document.getElementById("marks");
  const playButton = tools.querySelector("[data-do=play]");
  const tape = window.skerry.tape(place.dataset.base);
  // Waiting for what arrives has no end: where nobody looks, it must not keep the sign-in alive.
  const UNATTENDED_MS = 20 * 60_000;
  let attended = Date.now();
  let player = null;
  let dragging = false;
  let shownMarks = "";

  tape.isAttended = () => !document.hidden && Date.now() - attended < UNATTENDED_MS;
  for (const kind of ["pointermove", "pointerdown", "keydown", "scroll"]) {
    addEventListener(kind, () => (attended = Date.now()), { passive: true });
  }

  function spell(seconds) {
    const whole = Math.floor(seconds);
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }

  function tellState() {
    const index = tape.index();
    if (index === null) {
      status.textContent = tape.problem ?? "";
      return;
    }
    const said = [];
    if (index.fault) said.push(`What follows cannot be played: ${window.skerry.plain(index.fault)}`);
    if (index.state === "arriving") said.push("The recording is still arriving: what comes is played as it comes.");
    if (index.read < index.size) said.push(`Gone through ${Math.floor((100 * index.read) / index.size)} % of it.`);
    const text = said.join(" ");
    if (status.textContent !== text) status.textContent = text;
  }

  function tellTime() {
    const index = tape.index();
    if (index === null) return;
    const here = tape.now();
    if (!dragging) position.value = String(here);
    const text = `${spell(here)} of ${spell(index.duration)}`;
    if (clock.textContent !== text) clock.textContent = text;
    position.setAttribute("aria-valuetext", text);
    place.dataset.time = here.toFixed(2);
  }

  function listMarks() {
    const found = tape.index().marks.slice(0, MARKS_SHOWN);
    const key = JSON.stringify(found);
    if (key === shownMarks) return;
    shownMarks = key;
    marks.hidden = found.length === 0;
    const items = found.map(([time, kind, text]) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button small";
      button.textContent = `${spell(time)} ${window.skerry.plain(tape.describe(kind, text))}`;
      button.addEventListener("click", () => player.seek(time));
      item.append(button);
      return item;
    });
    marks.querySelector("ol").replaceChildren(...items);
    marks.querySelector("summary").textContent = `${found.length} ${found.length === 1 ? "mark" : "marks"}`;
  }

  tape.onchange = () => {
    tellState();
    if (tape.index() === null) return;
    tools.hidden = false;
    position.max = String(Math.max(tape.index().duration, 0.1));
    playButton.textContent = tape.isPlaying() ? "Pause" : "Play";
    listMarks();
    tellTime();
  };

  const DO = {
    play: () => (tape.isPlaying() ? player.pause() : player.play()),
    back: () => player.seek("<<"),
    forward: () => player.seek(">>"),
    previous: () => player.seek({ marker: "prev" }),
    next: () => player.seek({ marker: "next" }),
    fullscreen: () => place.requestFullscreen?.(),
  };

  if (typeof AsciinemaPlayer === "undefined") {
    status.textContent = "The player is not built on this controller (make assets). Download the recording, or play it with tsh.";
  } else {
    player = AsciinemaPlayer.create(tape.driver, place, {
      controls: false, // the bar below is all there is
      fit: "width",
      keystrokeOverlay: false,
      terminalFontFamily: place.dataset.font,
    });
    tools.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) DO[button.dataset.do]();
    });
    document.getElementById("speed").addEventListener("change", (event) => tape.setSpeed(Number(event.target.value)));
    document.getElementById("skip-idle").addEventListener("change", (event) => tape.setSkipIdle(event.target.checked));
    position.addEventListener("input", () => (dragging = true));
    position.addEventListener("change", () => {
      dragging = false;
      player.seek(Number(position.value));
    });
    // Keys for the player work wherever one is in its panel, but for what has keys of its own.
    tools.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const what = { "[": "previous", "]": "next", ArrowLeft: "back", ArrowRight: "forward", f: "fullscreen" }[event.key];
      if (!what) return;
      event.preventDefault();
      DO[what]();
    });
    setInterval(tellTime, 200);
    setInterval(() => {
      const index = tape.index();
      const isGrowing = index !== null && (index.state === "arriving" || index.read < index.size);
      if (isGrowing && tape.isAttended() && !tape.isPlaying()) tape.refresh().catch(() => {});
    }, ARRIVING_MS);
  }
}

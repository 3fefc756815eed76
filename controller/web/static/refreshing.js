// Parts of a page that are fetched anew from their `data-source`, with the page's own query.
"use strict";

(() => {
  const LOST = "The controller does not answer. What you see may be out of date; trying again…";
  const NO_RECORDS = "The controller cannot reach its records. What you see may be out of date; trying again…";
  // After these there is no use in asking again.
  const FINAL = { 403: "You may not see this any more.", 404: "This is not there any more." };
  let pressed = null;

  for (const [kind, held] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false], ["dragend", false]]) {
    document.addEventListener(kind, (event) => (pressed = held ? event.target : null), { capture: true, passive: true });
  }

  // Somebody is at work in `part`: copying from it, clicking on it, or answering what it asks.
  function isInUse(part) {
    const selection = getSelection();
    const selected = !selection.isCollapsed && part.contains(selection.anchorNode);
    const typing = part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    const asking = part.querySelector("details.confirm[open], dialog[open]") !== null;
    return selected || typing || asking || (pressed !== null && part.contains(pressed));
  }

  // Whatever may be the end of somebody's work in a part.
  function onRelease(element, act) {
    const soon = () => setTimeout(act); // a click is not over before its event has been heard
    for (const kind of ["toggle", "close", "focusout"]) element.addEventListener(kind, soon, { capture: true });
    for (const kind of ["selectionchange", "pointerup", "pointercancel"]) document.addEventListener(kind, soon, { passive: true });
  }

  // `refresh()` asks anew. One question is on its way at a time, and one more comes after it when something has changed
  // meanwhile; with `overtake` it takes the place of the one on its way. It resolves to whether there was an answer, or to
  // null where there is no use in asking again. What comes while somebody is at work in the part waits until they are done.
  // The part is told by the event "refreshed" when it has changed; `part.version` counts how often it did.
  function refreshable(element, { patience = 10_000 } = {}) {
    let shown = null;
    let kept = null;
    let running = null;
    let again = null;
    let failures = 0;
    const part = { ended: false, version: 0, address, put, refresh };

    function address() {
      const url = new URL(element.dataset.source, location.href);
      for (const [name, value] of new URL(location.href).searchParams) url.searchParams.append(name, value);
      return url.pathname + url.search;
    }

    function put(html) {
      kept = null;
      if (html === shown) return;
      if (isInUse(element)) {
        kept = html;
        return;
      }
      const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
      const open = [...element.querySelectorAll("details[data-key][open]")].map((each) => each.dataset.key);
      const parsed = new DOMParser().parseFromString(html, "text/html");
      element.replaceChildren(...parsed.body.childNodes);
      const keyed = (key) => element.querySelector(`[data-key="${CSS.escape(key)}"]`);
      for (const key of open) if (keyed(key)) keyed(key).open = true;
      window.skerry.prepare(element);
      shown = html;
      part.version += 1;
      if (focused) keyed(focused)?.focus({ preventScroll: true });
      element.dispatchEvent(new Event("refreshed"));
    }

    function giveUp(status) {
      part.ended = true;
      if (status === 401) window.skerry.ended();
      else window.skerry.warn(FINAL[status], null, { forGood: true });
      return null;
    }

    function fail(status) {
      if (++failures > 1) window.skerry.warn(status === 503 ? NO_RECORDS : LOST);
      return false;
    }

    async function ask(mine) {
      const timer = setTimeout(() => mine.stop.abort(), patience);
      try {
        const reply = await fetch(address(), { headers: { "X-Skerry-Script": "1" }, signal: mine.stop.signal });
        if (mine !== running) return false;
        if (reply.status === 401 || reply.status in FINAL) return giveUp(reply.status);
        if (!reply.ok) return fail(reply.status);
        const html = await reply.text();
        if (mine !== running) return false;
        if (failures > 1) window.skerry.warn("");
        failures = 0;
        put(html);
        return true;
      } catch {
        return mine === running ? fail(0) : false;
      } finally {
        clearTimeout(timer);
        if (mine === running) running = null;
      }
    }

    function refresh({ overtake = false } = {}) {
      if (part.ended) return Promise.resolve(null);
      if (running && !overtake) {
        again ??= running.done.then(() => {
          again = null;
          return refresh();
        });
        return again;
      }
      const before = running;
      const mine = (running = { stop: new AbortController(), done: null });
      before?.stop.abort();
      if (overtake) kept = null; // it answers another question
      mine.done = ask(mine);
      return mine.done;
    }

    onRelease(element, () => {
      if (kept !== null && !isInUse(element)) put(kept);
    });
    return part;
  }

  const PAUSE_MS = 250;
  const PAUSE_MAX_MS = 4000;
  const TRIES = 6;

  // Asks anew for as long as `isGoingOn` says so: at once while each answer brings the part on, and ever more slowly while
  // none does. After some failures in a row it gives up, and says so. Resolves to whether it came to an end.
  async function pursue(part, isGoingOn, rounds = 5000) {
    let failed = 0;
    let pause = PAUSE_MS;
    for (let round = 0; round < rounds; round++) {
      const before = part.version;
      const answered = await part.refresh();
      if (answered === null) return false;
      if (answered && !isGoingOn()) return true;
      failed = answered ? 0 : failed + 1;
      if (failed === TRIES) {
        window.skerry.warn("The controller does not answer, and is not asked any more. Load the page again later.");
        return false;
      }
      if (part.version !== before) pause = PAUSE_MS;
      else {
        const now = pause;
        await new Promise((done) => setTimeout(done, now));
        pause = Math.min(2 * pause, PAUSE_MAX_MS);
      }
    }
    return false;
  }

  // Each process of the controller checks for itself, and the next answer may be another's: a bar never goes back.
  function onward(element) {
    let furthest = 0;
    element.addEventListener("refreshed", () => {
      const bar = element.querySelector("progress");
      furthest = bar ? Math.max(furthest, bar.value) : 0;
      if (bar) bar.value = furthest;
    });
  }

  Object.assign(window.skerry, { refreshable, pursue, onward });
})();

// What of a recording lies ready to be shown, and what of it must not reach a terminal. Neither asks for anything.
"use strict";

// The events from one record on, in order. A place that one goes to gets a queue of its own: what still comes for the one
// before is no longer anybody's.
window.skerry.reel = ({ record = 0, until = -1 } = {}) => {
  const STEPS_KEPT = 500;
  const SPENT_MAX = 2000;
  let events = [];
  let head = 0;
  const steps = [];
  const reel = { next: record, more: true, until, loading: null, add, take, coming, left, last, stepBefore, hasShown };

  function add(reply) {
    for (const event of reply.events) if (event[0] > until) events.push(event); // the others are on the screen already
    reel.next = reply.next;
    reel.more = reply.more;
  }

  // Gives `feed` what is due by a moment; no more than about `most` characters. Returns whether that was all.
  function take(moment, most, feed) {
    let fed = 0;
    while (head < events.length && events[head][0] <= moment && fed < most) {
      const event = events[head++];
      fed += event[2].length;
      steps.push(event[0]);
      if (steps.length > STEPS_KEPT) steps.shift();
      feed(event);
    }
    if (head > SPENT_MAX) {
      events = events.slice(head);
      head = 0;
    }
    return fed < most;
  }

  function coming() {
    return events[head];
  }

  function left() {
    return events.length - head;
  }

  // When the last of those that wait is due; null where none waits.
  function last() {
    return left() > 0 ? events[events.length - 1][0] : null;
  }

  function stepBefore(moment) {
    return steps.filter((time) => time < moment - 0.0005).pop();
  }

  // The last moment that is on the screen.
  function hasShown() {
    return Math.max(until, steps.at(-1) ?? 0);
  }

  return reel;
};

// What a terminal would do to its own size (CSI t), or repeat without end (CSI b), is taken out; drawing stays. Control
// sequences are followed as a terminal does (ECMA-48; vt100.net, "A parser for DEC's ANSI-compatible video terminals"),
// however a program's writes cut them up: both introducers count, controls within act at once, and what is too long to be
// drawing is dropped.
window.skerry.tamer = (columns) => {
  const BODY_MAX = 4096;
  const INTRODUCER = /[\x1b\x9b]/g;
  let state = "ground"; // or "escape", or "sequence"
  let body = "";
  let isTooLong = false;

  function begin(character) {
    state = character === "\x1b" ? "escape" : "sequence";
    body = "";
    isTooLong = false;
  }

  function tamed(final) {
    if (isTooLong || final === "t") return "";
    if (final !== "b") return `\x1b[${body}${final}`;
    const times = Number.parseInt(body, 10) || 1;
    return /^[0-9;:]*$/.test(body) ? `\x1b[${Math.min(times, columns())}b` : "";
  }

  // One character within a sequence; returns what the terminal gets of it by now.
  function within(character) {
    if (character === "\x7f") return "";
    if (character < " " && character !== "\x18" && character !== "\x1a") return character;
    if (state === "escape" && character === "[") {
      state = "sequence";
      return "";
    }
    const wasEscape = state === "escape";
    if (!wasEscape && character >= " " && character < "@") {
      if (body.length < BODY_MAX) body += character;
      else isTooLong = true;
      return "";
    }
    state = "ground";
    if (wasEscape) return character < "\x7f" && character >= " " ? `\x1b${character}` : character;
    return character >= "@" && character < "\x7f" ? tamed(character) : character;
  }

  return (text) => {
    const out = [];
    let at = 0;
    while (at < text.length) {
      if (state === "ground") {
        INTRODUCER.lastIndex = at;
        const found = INTRODUCER.exec(text);
        const end = found === null ? text.length : found.index;
        out.push(text.slice(at, end));
        if (found !== null) begin(text[end]);
        at = end + 1;
      } else {
        const character = text[at++];
        if (character === "\x1b" || character === "\x9b") begin(character);
        else out.push(within(character));
      }
    }
    return out.join("");
  };
};

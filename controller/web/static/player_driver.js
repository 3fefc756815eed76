// The part of the player that knows where a recording lies: it asks the controller for what comes next, and for the
// screen at the moment that one goes to, and keeps no more than a little ahead. asciinema-player calls it a driver.
"use strict";

window.skerry.tape = (base) => {
  const IDLE_S = 2; // what is skipped is shown for so long
  const AHEAD_S = 20;
  const AHEAD_EVENTS = 300;
  const FEED_MAX = 256 * 1024; // fed in one go, lest a page that prints a lot stands still
  const ARRIVING_MS = 3000;
  const PATIENCE_MS = 30_000;

  let dispatch = () => {};
  let index = null;
  let reel = window.skerry.reel();
  let tame = newTamer();
  let at = 0;
  let anchored = 0;
  let playing = false;
  let waiting = false;
  let ended = false;
  let timer = 0;
  let turn = 0;
  let speed = 1;
  let skipIdle = true;
  let isGoing = false; // to another moment: the screen there has not come yet
  const tape = { onchange: () => {}, isAttended: () => true, setSpeed, setSkipIdle, driver, index: () => index, now, isPlaying: () => playing };

  function newTamer() {
    return window.skerry.tamer(() => index.columns);
  }

  function now() {
    return playing && !waiting ? Math.min(at + ((performance.now() - anchored) / 1000) * speed, duration()) : at;
  }

  function duration() {
    return index === null ? 0 : index.duration;
  }

  function anchor(moment) {
    at = moment;
    anchored = performance.now();
  }

  async function ask(what) {
    const reply = await fetch(`${base}/${what}`, { headers: { "X-Skerry-Script": "1" }, signal: AbortSignal.timeout(PATIENCE_MS) });
    if (reply.status === 401) {
      window.skerry.ended();
      throw new Error("Your sign-in has ended.");
    }
    if (!reply.ok) throw new Error(`The recording could not be read (status ${reply.status}).`);
    return reply.json();
  }

  function grow(reply) {
    Object.assign(index, { state: reply.state, read: reply.read, size: reply.size });
    index.duration = Math.max(index.duration, reply.duration);
  }

  function hasMore() {
    return reel.more || index.read < index.size;
  }

  // Whether more may come than the last answer had.
  function isOpen() {
    return hasMore() || index.state === "arriving";
  }

  async function load(mine) {
    const reply = await ask(`segment?record=${mine.next}`);
    if (mine !== reel) return; // somebody has gone elsewhere meanwhile
    grow(reply);
    for (const event of reply.events) index.duration = Math.max(index.duration, event[0]);
    mine.add(reply);
    if (reply.fault) {
      index.fault = reply.fault;
      index.size = index.read;
    }
    tape.onchange();
  }

  function fetchMore() {
    const mine = reel;
    mine.loading ??= load(mine)
      .catch((error) => {
        if (mine === reel) fail(error);
      })
      .finally(() => (mine.loading = null));
    return mine.loading;
  }

  function fail(error) {
    index.fault = error.message;
    reel.more = false;
    index.size = index.read;
    if (index.state === "arriving") index.state = "unreachable";
    tape.onchange();
  }

  function feed(event) {
    const [, code, data] = event;
    if (code === "o") dispatch("output", tame(data));
    else if (code === "r") {
      const [cols, rows] = data.split("x").map(Number);
      dispatch("resize", { cols, rows });
    }
  }

  function feedUpTo(moment) {
    return reel.take(moment, FEED_MAX, feed);
  }

  function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(pump, Math.max(0, Math.min(ms, 60_000)));
  }

  function wait(promise, ms, { quietly = false } = {}) {
    if (!waiting) {
      anchor(now());
      waiting = true;
      if (!quietly) dispatch("loading");
    }
    const turnThen = turn;
    promise.then(() => {
      if (turnThen === turn && playing) later(ms);
    });
  }

  function goOn() {
    if (!waiting) return;
    waiting = false;
    anchored = performance.now();
    dispatch("playing");
  }

  function pump() {
    if (!playing || isGoing) return;
    if (!feedUpTo(now())) {
      later(0);
      return;
    }
    const coming = reel.coming();
    const isLow = reel.left() < AHEAD_EVENTS || reel.last() < now() + AHEAD_S * speed;
    if (isLow && hasMore()) fetchMore();
    if (coming !== undefined) {
      goOn();
      const gap = coming[0] - now();
      if (skipIdle && gap > IDLE_S) anchor(coming[0] - IDLE_S / 2);
      later(((coming[0] - now()) / speed) * 1000);
    } else if (reel.loading !== null || hasMore()) wait(fetchMore(), 0);
    else if (index.state === "arriving" && !tape.isAttended()) pause();
    else if (index.state === "arriving") {
      wait(fetchMore(), ARRIVING_MS, { quietly: true });
      tape.onchange();
    } else finish();
  }

  function finish() {
    const rest = duration() - now();
    if (rest > 0 && !skipIdle) {
      goOn();
      later((rest / speed) * 1000);
      return;
    }
    anchor(duration());
    playing = waiting = false;
    ended = true;
    dispatch("ended", {});
    tape.onchange();
  }

  function markBefore(moment) {
    return index.marks.map((mark) => mark[0]).filter((time) => time < moment - 0.001).pop() ?? 0;
  }

  function markAfter(moment) {
    return index.marks.map((mark) => mark[0]).find((time) => time > moment + 0.001) ?? duration();
  }

  function target(where) {
    const here = now();
    if (typeof where === "number") return where;
    if (where === "<<") return here - 5;
    if (where === ">>") return here + 5;
    if (where === "<<<") return here - duration() / 10;
    if (where === ">>>") return here + duration() / 10;
    if (typeof where === "string" && where.endsWith("%")) return (Number.parseFloat(where) / 100) * duration();
    if (where?.marker === "prev") {
      const before = markBefore(here);
      return playing && here - before < 1 ? markBefore(before) : before;
    }
    if (where?.marker === "next") return markAfter(here);
    return index.marks[where?.marker]?.[0] ?? here;
  }

  // Whether what lies ready leads there from what is on the screen.
  function isNear(moment) {
    return reel.loading === null && reel.last() !== null && moment < reel.last() && moment >= reel.hasShown();
  }

  async function seek(where) {
    const moment = Math.min(Math.max(target(where), 0), duration());
    if (!Number.isFinite(moment)) return false;
    ended = false;
    const mine = ++turn;
    clearTimeout(timer);
    anchor(moment);
    isGoing = true;
    if (isNear(moment)) while (!feedUpTo(moment));
    else {
      let still;
      try {
        still = await ask(`screen?at=${moment.toFixed(3)}`);
      } catch (error) {
        if (mine === turn) {
          isGoing = false;
          fail(error);
          pause();
        }
        return false;
      }
      if (mine !== turn) return false; // somebody has gone elsewhere meanwhile
      reel = window.skerry.reel({ record: still.record, until: moment });
      tame = newTamer();
      dispatch("reset", { size: { cols: still.columns, rows: still.rows }, init: tame(still.text), theme: null });
      anchor(moment);
    }
    isGoing = false;
    dispatch("seeked");
    if (playing) pump();
    else if (reel.left() === 0) await fetchMore();
    tape.onchange();
    return true;
  }

  async function play() {
    if (playing) return true;
    if (ended || (now() >= duration() && !isOpen())) await seek(0);
    playing = true;
    ended = false;
    anchored = performance.now();
    dispatch("play");
    dispatch("playing");
    tape.onchange();
    pump();
    return true;
  }

  function pause() {
    if (!playing) return true;
    anchor(now());
    playing = waiting = false;
    clearTimeout(timer);
    dispatch("pause");
    tape.onchange();
    return true;
  }

  async function step(count = 1) {
    if (playing) return;
    if (count < 0) {
      await seek(reel.stepBefore(at) ?? at - 1);
      return;
    }
    if (isGoing) return;
    if (reel.left() === 0 && hasMore()) await fetchMore();
    if (reel.left() === 0) return;
    anchor(reel.coming()[0]);
    feedUpTo(at);
    tape.onchange();
  }

  function setSpeed(value) {
    anchor(now());
    speed = value;
    if (playing) pump();
  }

  function setSkipIdle(value) {
    skipIdle = value;
    if (playing) pump();
  }

  async function refresh() {
    const fresh = await ask("index");
    const old = index?.duration ?? 0;
    index = { ...fresh, duration: Math.max(fresh.duration, old) };
    dispatch("metadata", { duration: index.duration, markers: index.marks.map(([time, kind, text]) => [time, describe(kind, text)]) });
    dispatch("seeked");
    tape.onchange();
  }

  function describe(kind, text) {
    if (kind === "join") return `${text} joined`;
    if (kind === "leave") return `${text} left`;
    return kind === "resize" ? `terminal ${text}` : text;
  }
  tape.describe = describe;
  tape.refresh = refresh;

  // What asciinema-player calls with its own callbacks, and is given the parts of a driver.
  function driver(callbacks) {
    dispatch = callbacks.dispatch;
    return {
      init: async () => {
        try {
          await refresh();
        } catch (error) {
          tape.problem = error.message;
          tape.onchange();
          dispatch("error", {});
          throw error;
        }
        dispatch("reset", { size: { cols: index.columns, rows: index.rows }, init: "", theme: null });
        await fetchMore();
      },
      play,
      pause,
      seek,
      step,
      stop: () => {
        playing = false;
        turn += 1;
        clearTimeout(timer);
      },
      getDuration: () => (index === null ? undefined : duration()),
      getCurrentTime: now,
      getTiming: () => ({ time: now() }),
    };
  }

  return tape;
};

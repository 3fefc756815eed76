// News of what changes, for pages that keep themselves up to date: `skerry.follow(["nodes"], refresh)`.
//
// One stream of server-sent events a page. Where there is none to be had, the page asks every few seconds instead. A page
// that nobody sees holds no stream: browsers give one host six connections, and every tab of ours wants one. Pages that
// follow nothing hold one too: it says when the sign-in has ended.
"use strict";

(() => {
  const ASK_MS = 4000;
  const AGAIN_MS = 3000;
  const REST_TIMES = 20;
  const REST_MIN_MS = 2000;
  const REST_MAX_MS = 5000;
  const followers = [];
  let stream = null;
  let timer = 0;
  let ended = false;

  function tell(topic) {
    for (const follower of followers) if (topic === null || follower.topics.includes(topic)) heed(follower, topic);
  }

  // In a large fleet something changes all the time: nothing is asked for more than once in two seconds, and a page that
  // takes long to be asked for less often still. What could not be had is asked for again.
  async function heed(follower, topic) {
    if (follower.isBusy) {
      follower.missed = [topic];
      return;
    }
    follower.isBusy = true;
    const began = performance.now();
    try {
      if ((await follower.act(topic)) === false) follower.missed = [topic];
    } finally {
      const rest = Math.min(Math.max(REST_TIMES * (performance.now() - began), REST_MIN_MS), REST_MAX_MS);
      setTimeout(() => {
        const missed = follower.missed;
        follower.isBusy = false;
        follower.missed = null;
        if (missed && !ended && !document.hidden) heed(follower, missed[0]);
      }, rest);
    }
  }

  function end(status = 401) {
    if (ended) return;
    ended = true;
    stop();
    if (status === 401) window.skerry.ended();
    else window.skerry.warn("You may not see this any more.", null, { forGood: true });
  }

  function stop() {
    clearTimeout(timer);
    stream?.abort();
    stream = null;
  }

  // The stream as it comes: whole events, each with its name (HTML standard, section 9.2.6, as far as we send it).
  async function listen(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const name = /^event: (\w+)$/m.exec(part)?.[1];
        if (name === "ended") end();
        else if (name) tell(name);
      }
    }
  }

  async function begin() {
    if (ended || document.hidden || stream) return;
    const mine = (stream = new AbortController());
    try {
      const reply = await fetch("/web/events", { headers: { "X-Skerry-Script": "1" }, signal: mine.signal, cache: "no-store" });
      if (reply.status === 401 || reply.status === 403) return end(reply.status);
      if (reply.ok) {
        tell(null); // what has changed since the page was made, or since the stream before was lost
        await listen(reply.body);
      }
    } catch {
      // Asked again below.
    }
    if (stream !== mine || ended) return;
    stream = null;
    timer = setTimeout(ask, AGAIN_MS);
  }

  // No stream: the controller is away or full. What is shown is asked for instead, and a stream again with it.
  function ask() {
    if (ended || document.hidden) return;
    tell(null);
    timer = setTimeout(begin, ASK_MS - AGAIN_MS);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return stop();
    begin();
  });
  // A page in the browser's back-and-forward cache must hold nothing open.
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => {
    if (event.persisted) begin();
  });

  window.skerry.follow = (topics, act) => {
    followers.push({ topics, act, isBusy: false, missed: null });
  };
  // Not before all scripts of the page have said what they follow.
  document.addEventListener("DOMContentLoaded", begin);
})();

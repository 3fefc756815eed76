// A terminal on a device: xterm.js on this side, a WebSocket to the web door on the other.
//
// What the device prints is hostile until proven otherwise: it may move this terminal's cursor and colours, and no more.
// It may not read the clipboard or write to it, name the tab, resize the window, or have the terminal say what it knows.
"use strict";

(() => {
  const place = document.getElementById("terminal");
  if (!place || !window.Terminal) return;
  const { node, name, login, session: joined, mode, user: me } = place.dataset;
  const AHEAD = Number(place.dataset.ahead);
  const PIECE = Number(place.dataset.piece);
  const TYPED_AHEAD = Number(place.dataset.typedAhead);
  const TYPED_PIECE = TYPED_AHEAD / 4; // what the door tells of at a time is no more than this
  const FILE_MAX = Number(place.dataset.fileMax);
  const TOOK_STEP = 32 * 1024;
  const FONT = { usual: 14, least: 8, most: 32, key: "skerry-terminal-font" };
  const SIDE_MAX = 500;
  // What the terminal says within so long of a key, a click or a paste was the person's; anything else is its own answer.
  const OWN_MS = 250;
  const SIGNED_OUT = 4001;
  const LOCKED = 4003;
  // Who ends the connection first, the door or the proxy, is a matter of chance: both say this of a lock.
  const LOCK = /\block targeting .+ is in force/i;
  const by = (id) => document.getElementById(id);
  const watches = mode === "observer" || mode === "moderator";

  // --- the terminal itself ---

  const THEMES = {
    light: {
      background: "#fbfcfd", foreground: "#10212c", cursor: "#0a6b83", cursorAccent: "#fbfcfd", selectionBackground: "#bfe0e8",
      black: "#10212c", red: "#a5312a", green: "#14744a", yellow: "#8f5400", blue: "#1a5fb4", magenta: "#8a3a8f", cyan: "#0a6b83", white: "#b9c7cf",
      brightBlack: "#4f6372", brightRed: "#c4453d", brightGreen: "#1a8a59", brightYellow: "#a86500", brightBlue: "#2e74cc", brightMagenta: "#a04ca6", brightCyan: "#11809c", brightWhite: "#10212c",
    },
    dark: {
      background: "#0b1217", foreground: "#e4edf2", cursor: "#62c4d8", cursorAccent: "#0b1217", selectionBackground: "#24505c",
      black: "#22323d", red: "#f0857d", green: "#43c98a", yellow: "#e5a94a", blue: "#7ab4f5", magenta: "#d79bdc", cyan: "#62c4d8", white: "#d3dee4",
      brightBlack: "#7d92a0", brightRed: "#ffa39c", brightGreen: "#6be0a8", brightYellow: "#f4c478", brightBlue: "#a2ccff", brightMagenta: "#e9b8ed", brightCyan: "#8ddcea", brightWhite: "#ffffff",
    },
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => THEMES[document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")] ?? THEMES.light;

  function open(address) {
    if (/^https?:\/\//i.test(address)) window.open(address, "_blank", "noopener,noreferrer");
  }

  function fontSize() {
    try {
      const kept = Number(localStorage.getItem(FONT.key));
      return kept >= FONT.least && kept <= FONT.most ? kept : FONT.usual;
    } catch {
      return FONT.usual;
    }
  }

  const term = new Terminal({
    allowProposedApi: true, // the search add-on marks what it finds
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    disableStdin: watches,
    fontFamily: '"JetBrains Mono Variable", ui-monospace, "DejaVu Sans Mono", monospace',
    fontSize: fontSize(),
    linkHandler: { activate: (_event, address) => open(address), allowNonHttpProtocols: false },
    macOptionIsMeta: true,
    minimumContrastRatio: 4.5,
    scrollback: 5000,
    theme: theme(),
  });
  const fit = new FitAddon.FitAddon();
  const search = new SearchAddon.SearchAddon();
  term.loadAddon(fit);
  term.loadAddon(search);
  term.loadAddon(new WebLinksAddon.WebLinksAddon((_event, address) => open(address), { urlRegex: /https?:\/\/[^\s"'<>\\^`{|}\u0000-\u001f\u202a-\u202e\u2066-\u2069]+[^\s"'<>\\^`{|}.,:;!?)\]\u0000-\u001f\u202a-\u202e\u2066-\u2069]/i }));
  // Swallowed: the clipboard (52), questions about colours (4, 10-12), about the window (CSI t), about settings (DCS $ q)
  // and about the terminal's version (CSI > q).
  term.parser.registerOscHandler(52, () => true);
  for (const code of [4, 10, 11, 12]) term.parser.registerOscHandler(code, (data) => data.includes("?"));
  term.parser.registerCsiHandler({ final: "t" }, () => true);
  term.parser.registerCsiHandler({ prefix: ">", final: "q" }, () => true);
  term.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => true);
  term.open(place);

  // --- the connection ---

  let socket = null;
  let sessionId = joined;
  let parties = [];
  let sizeOfSession = null;
  let untold = 0;
  let said = null; // the last message's: how the program or the connection ended
  let isOpen = false;
  let ownUntil = 0;

  const tell = (message) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  const encoder = new TextEncoder();

  function capacity() {
    const found = fit.proposeDimensions();
    return { columns: Math.max(2, Math.min(found?.cols || 80, SIDE_MAX)), rows: Math.max(1, Math.min(found?.rows || 24, SIDE_MAX)) };
  }

  // Alone, the terminal is as large as the window; with others, as large as the session: the smallest of all of them.
  function layOut() {
    const mine = capacity();
    const [columns, rows] = sizeOfSession && (watches || parties.length > 1) ? sizeOfSession : [mine.columns, mine.rows];
    if (columns !== term.cols || rows !== term.rows) term.resize(Math.min(columns, SIDE_MAX), Math.min(rows, SIDE_MAX));
    by("stage").classList.toggle("is-wider", columns > mine.columns || rows > mine.rows);
    const isSmaller = !watches && (columns < mine.columns || rows < mine.rows);
    by("fit").textContent = isSmaller ? `${columns}×${rows}: as small as ${smallest()} screen` : "";
    if (!watches && isOpen) tell({ type: "size", ...mine });
  }

  // Whose screen it is that makes the session small; only the sizes of those who type count.
  function smallest() {
    const others = new Set(parties.filter((each) => each.mode === "peer" && each.user !== me).map((each) => plain(each.user)));
    return others.size === 1 ? `${[...others][0]}'s` : "the smallest";
  }

  let laying = 0;
  new ResizeObserver(() => {
    clearTimeout(laying);
    laying = setTimeout(layOut, 60);
  }).observe(by("stage"));

  function state(word, text) {
    by("state").dataset.state = word;
    by("state").textContent = text;
    for (const id of ["upload", "download"]) if (by(id)) by(id).hidden = word === "over";
  }

  // Returns a ticket, or shows why there is none.
  async function ticket(fields) {
    const form = new FormData(by("ticket-form"));
    for (const [key, value] of Object.entries({ node, login, ...fields })) form.set(key, value);
    const reply = await fetch("/web/tickets", { method: "POST", body: new URLSearchParams(form), headers: { "X-Skerry-Script": "1" } });
    if (reply.status === 401) throw Object.assign(new Error("Your sign-in has ended."), { signedOut: true });
    const body = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Error(body.error || `The controller answered with status ${reply.status}.`);
    return body.ticket;
  }

  async function connect() {
    by("over").hidden = true;
    state("connecting", "connecting…");
    said = null;
    isOpen = false;
    untold = 0;
    typed = [];
    onTheWay = 0;
    sizeOfSession = null;
    try {
      const wanted = joined ? { kind: "terminal", session: joined, mode } : { kind: "terminal" };
      begin(await ticket(wanted));
    } catch (error) {
      over(error.message || "The controller does not answer.", { signedOut: error.signedOut });
    }
  }

  function begin(pass) {
    const mine = (socket = new WebSocket(`wss://${location.host}/web/socket?ticket=${encodeURIComponent(pass)}`));
    mine.binaryType = "arraybuffer";
    mine.onopen = () => tell({ type: "size", ...capacity() });
    mine.onmessage = ({ data }) => (typeof data === "string" ? heed(JSON.parse(data)) : print(new Uint8Array(data)));
    mine.onclose = ({ code }) => mine === socket && lost(code);
  }

  function print(data) {
    const mine = socket;
    term.write(data, () => {
      untold += data.length;
      if (untold < TOOK_STEP || mine !== socket) return;
      tell({ type: "took", bytes: untold });
      untold = 0;
    });
  }

  function heed(message) {
    if (message.type === "open") {
      isOpen = true;
      state("open", joined ? "joined" : "connected");
      layOut();
      term.focus();
    } else if (message.type === "news") {
      sessionId = message.session;
      parties = message.parties;
      sizeOfSession = message.size.every((side) => side > 0) ? message.size : null;
      showParties();
      layOut();
    } else if (message.type === "took") {
      onTheWay = Math.max(0, onTheWay - message.bytes);
      typeOn();
    } else if (message.type === "exit") said = { ...said, exit: message };
    else if (message.type === "end") said = { ...said, end: message };
  }

  function showParties() {
    const words = parties.map(({ user, mode: as }) => (as === "peer" ? plain(user) : `${plain(user)} (${as})`));
    by("here").textContent = parties.length > 1 ? `Here: ${words.join(", ")}` : "";
    by("here").title = words.join(", ");
  }

  const plain = (text) => (window.skerry?.plain ? window.skerry.plain(String(text)) : String(text).replace(/[^\x20-\x7e\u00a0-\u024f]/g, "·")).slice(0, 100);

  function lost(code) {
    const wasOpen = isOpen;
    isOpen = false;
    socket = null;
    parties = [];
    by("here").textContent = by("fit").textContent = "";
    if (said?.end) over(...ending(said.end, wasOpen));
    else over(wasOpen ? `Connection lost${joined ? "." : ": the session ended on the device."}` : "The terminal was not opened.", { code });
  }

  function ending({ code, text }, wasOpen) {
    if (code === SIGNED_OUT) return [sentence(text), { signedOut: true }];
    if (code === LOCKED || LOCK.test(text)) return [sentence(text), { locked: true }];
    const exit = said.exit;
    if (exit) return [exit.signal ? `The session has ended: signal ${plain(exit.signal)}.` : `The session has ended: exit status ${exit.status}.`, {}];
    if (!text) return [joined ? "You have left the session." : "The session has ended.", {}];
    return [wasOpen ? `Connection lost: ${text}.` : sentence(text), {}];
  }

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  // The connection is over: say so, and what can be done.
  function over(text, { signedOut = false, locked = LOCK.test(text) } = {}) {
    state("over", "not connected");
    by("over-text").textContent = text;
    by("over-more").replaceChildren(...(sessionId ? ["Its recording is at ", link(`/web/sessions/${sessionId}`, "the session's page"), "."] : []));
    const again = button(joined ? "Join again" : "Connect again", connect);
    const signIn = link(place.dataset.signIn, "Sign in again");
    signIn.className = "button primary";
    const back = link(`/web/nodes/${node}`, "To the device");
    back.className = "button";
    // While a lock holds, connecting again leads nowhere.
    const actions = signedOut ? [signIn] : locked ? [back] : [again, back];
    by("over-actions").replaceChildren(...actions);
    by("over").hidden = false;
    actions[0].focus();
  }

  function link(address, text) {
    const made = document.createElement("a");
    made.href = address;
    made.textContent = text;
    return made;
  }

  function button(text, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "button primary";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  }

  // --- typing ---

  for (const kind of ["keydown", "paste", "input", "compositionend", "mousedown", "mouseup", "mousemove", "wheel"])
    place.addEventListener(kind, () => (ownUntil = performance.now() + OWN_MS), { capture: true, passive: true });

  // What is typed goes at once, a large paste in pieces: no more of it is on its way than the device has yet to read.
  let typed = []; // pieces that wait
  let onTheWay = 0;

  function type(bytes) {
    for (let at = 0; at < bytes.length; at += TYPED_PIECE) typed.push(bytes.subarray(at, at + TYPED_PIECE));
    typeOn();
  }

  function typeOn() {
    while (isOpen && typed.length && (!onTheWay || onTheWay + typed[0].length <= TYPED_AHEAD)) {
      onTheWay += typed[0].length;
      socket.send(typed.shift());
    }
  }

  term.onData((data) => {
    if (!isOpen || watches) return;
    if (performance.now() > ownUntil) return tell({ type: "answer", data: data.slice(0, 4096) });
    type(encoder.encode(data));
  });
  term.onBinary((data) => isOpen && !watches && type(Uint8Array.from(data, (character) => character.charCodeAt(0) & 255)));
  term.onTitleChange((title) => (by("program").textContent = plain(title)));

  async function copy() {
    const text = term.getSelection();
    if (!text) return;
    try {
      await navigator.clipboard.writeText(text);
      window.skerry?.say?.("Copied");
    } catch {
      window.skerry?.say?.("The browser does not let this page copy");
    }
  }

  const KEYS = new Map([
    ["C+S+KeyC", copy],
    ["C+S+KeyF", () => showFinder()],
    ["C+F6", () => by("leave").focus()],
    ["C+Equal", () => zoom(1)],
    ["C+S+Equal", () => zoom(1)],
    ["C+NumpadAdd", () => zoom(1)],
    ["C+Minus", () => zoom(-1)],
    ["C+NumpadSubtract", () => zoom(-1)],
    ["C+Digit0", () => zoom(0)],
  ]);

  function ours(event) {
    const chord = [event.ctrlKey && "C", event.shiftKey && "S", event.code].filter(Boolean).join("+");
    return event.altKey || event.metaKey ? undefined : KEYS.get(chord);
  }

  term.attachCustomKeyEventHandler((event) => {
    // Pasting is the browser's own: its `paste` event brings the text.
    if (event.ctrlKey && event.shiftKey && event.code === "KeyV") return false;
    return !ours(event);
  });
  document.addEventListener(
    "keydown",
    (event) => {
      const act = ours(event);
      if (!act || event.target.closest?.("dialog")) return;
      event.preventDefault();
      act();
    },
    { capture: true },
  );

  function zoom(step) {
    const size = step ? Math.max(FONT.least, Math.min(FONT.most, term.options.fontSize + step)) : FONT.usual;
    term.options.fontSize = size;
    try {
      localStorage.setItem(FONT.key, String(size));
    } catch {
      // Not remembered, then.
    }
    layOut();
  }

  // --- searching ---

  const MARKS = { matchOverviewRuler: "#e0a42e", activeMatchColorOverviewRuler: "#0a6b83", matchBackground: "#e0a42e", activeMatchBackground: "#62c4d8" };

  function showFinder() {
    by("finder").hidden = false;
    layOut();
    by("wanted").focus();
    by("wanted").select();
  }

  function hideFinder() {
    by("finder").hidden = true;
    search.clearDecorations();
    layOut();
    term.focus();
  }

  function look(forward, incremental = false) {
    const text = by("wanted").value;
    if (!text) return search.clearDecorations();
    if (forward) search.findNext(text, { decorations: MARKS, incremental });
    else search.findPrevious(text, { decorations: MARKS });
  }

  search.onDidChangeResults(({ resultIndex, resultCount }) => {
    by("found").textContent = !by("wanted").value ? "" : resultCount ? `${resultIndex + 1} of ${resultCount}` : "nothing found";
  });
  by("wanted").addEventListener("input", () => look(true, true));
  by("wanted").addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideFinder();
    else if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      look(false);
    }
  });
  by("finder").addEventListener("submit", (event) => {
    event.preventDefault();
    look(true);
  });
  by("find-before").addEventListener("click", () => look(false));
  by("find-close").addEventListener("click", hideFinder);
  by("find").addEventListener("click", showFinder);

  // --- the bar ---

  // Who clicks goes on typing; who came by the keyboard may want another step, and a finger no keyboard on the screen.
  for (const [id, step] of [["smaller", -1], ["larger", 1]])
    by(id).addEventListener("click", (event) => {
      zoom(step);
      if (event.pointerType === "mouse") term.focus();
    });
  by("reader").addEventListener("click", () => {
    const on = (term.options.screenReaderMode = !term.options.screenReaderMode);
    by("reader").setAttribute("aria-pressed", String(on));
    term.focus();
  });
  by("leave").addEventListener("click", async () => {
    if (isOpen && !joined && !(await askToLeave())) return;
    isOpen = false;
    socket?.close(1000);
    location.href = joined ? `/web/sessions` : `/web/nodes/${node}`;
  });
  by("end")?.addEventListener("click", async () => {
    if (isOpen && (await ask("End this session for everybody who is in it?", "End it"))) socket?.send(encoder.encode("t"));
  });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

  // Who began the session is its first party, and like any other: it ends with the last who may type.
  function askToLeave() {
    const others = new Set(parties.filter((each) => each.mode === "peer").slice(1).map((each) => plain(each.user)));
    if (others.size) return ask(`Leave? The session goes on with ${[...others].join(", ")}.`, "Leave", false);
    return ask("End this session and leave? Programs that run in it are stopped.", "End the session");
  }

  function ask(text, yes, isDanger = true) {
    const dialog = by("ask-dialog");
    by("ask-text").textContent = text;
    by("ask-yes").textContent = yes;
    by("ask-yes").classList.toggle("danger", isDanger);
    by("ask-yes").classList.toggle("primary", !isDanger);
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
  }

  // Ctrl+W is a shell's key and closes a browser's tab: asked first while something would be lost.
  addEventListener("beforeunload", (event) => isOpen && !joined && event.preventDefault());

  // --- files ---

  const MOVES_MAX = 3; // shown at a time: the newest

  function row(text) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    const bar = document.createElement("progress");
    const stop = new AbortController();
    const cancel = button("Stop", () => stop.abort());
    cancel.className = "button small";
    label.textContent = text;
    bar.setAttribute("aria-label", text);
    item.append(label, cancel, bar);
    for (const old of [...by("moves").querySelectorAll(".ended")].slice(0, Math.max(0, by("moves").children.length - MOVES_MAX + 1))) old.remove();
    by("moves").append(item);
    return {
      stop: stop.signal,
      step: (done, of) => Object.assign(bar, { max: of || 1, value: of ? done : 1 }),
      end(words, failed) {
        bar.remove();
        label.textContent = words;
        item.classList.add("ended");
        item.classList.toggle("failed", failed);
        cancel.textContent = "Close";
        cancel.addEventListener("click", () => item.remove());
        if (!failed) setTimeout(() => item.remove(), 8000);
      },
    };
  }

  const WORDS = { upload: ["Uploading", "Uploaded"], download: ["Downloading", "Downloaded"] };
  const large = (bytes) => `${(bytes / 1024 / 1024).toLocaleString("en", { maximumFractionDigits: 1 })} MiB`;
  const sizeOf = (bytes) => (bytes >= 1024 * 1024 ? large(bytes) : bytes === 1 ? "1 byte" : `${bytes.toLocaleString("en")} bytes`);

  async function move(kind, path, what, work) {
    const [doing, done] = WORDS[kind];
    const shown = row(`${doing} ${what}`);
    try {
      const moved = await work({ ticket: await ticket({ kind, path }), step: shown.step, stop: shown.stop });
      shown.end(moved ? `${done} ${what}, ${sizeOf(moved.bytes)}` : `${what} was not uploaded`, false);
    } catch (error) {
      if (shown.stop.aborted) shown.end(`Stopped: ${what} was not ${done.toLowerCase()}`, false);
      else shown.end(`Could not ${kind} ${what}: ${error.message.replace(`${path}: `, "")}`, true);
    }
  }

  function send(file, path) {
    const what = file.name === path ? plain(path) : `${plain(file.name)} to ${plain(path)}`;
    if (file.size > FILE_MAX) return row(what).end(`Could not upload ${what}: it is larger than ${large(FILE_MAX)}; use scp or rsync`, true);
    return move("upload", path, what, (given) =>
      skerryTransfer.upload({ ...given, file, ahead: AHEAD / 2, piece: PIECE, ask: (size) => ask(`${plain(path)} is there already (${sizeOf(size)}). Replace it?`, "Replace") }),
    );
  }

  function askWhere(file) {
    const chosen = by("upload-file");
    chosen.value = "";
    chosen.required = !file;
    chosen.parentElement.hidden = Boolean(file);
    by("upload-path").value = file ? file.name : "";
    by("upload-form").onsubmit = () => send(file ?? chosen.files[0], by("upload-path").value);
    by("upload-dialog").showModal();
  }

  by("upload-file").addEventListener("change", () => {
    const file = by("upload-file").files[0];
    if (file && !by("upload-path").value) by("upload-path").value = file.name;
  });
  by("upload")?.addEventListener("click", () => askWhere(null));
  by("download")?.addEventListener("click", () => by("download-dialog").showModal());
  by("download-form").addEventListener("submit", () => {
    const path = by("download-path").value;
    move("download", path, plain(path), (given) => skerryTransfer.download({ ...given, most: FILE_MAX }));
  });
  for (const kind of ["dragover", "drop", "dragleave"])
    by("stage").addEventListener(kind, (event) => {
      if (joined) return;
      event.preventDefault();
      by("stage").classList.toggle("dropping", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file && isOpen) askWhere(file);
    });

  for (const what of [dark, null])
    if (what) what.addEventListener("change", () => (term.options.theme = theme()));
  new MutationObserver(() => (term.options.theme = theme())).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  window.skerryTerminal = term;
  // The font decides how many characters fit: not before it is there.
  (document.fonts?.load?.(`${term.options.fontSize}px "JetBrains Mono Variable"`) ?? Promise.resolve()).catch(() => {}).then(() => {
    layOut();
    connect();
  });
})();

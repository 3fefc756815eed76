// The player's driver and what it is made of, without a browser: the controller's answers come when a test says so, and
// so does the time.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const STATIC = new URL("../../../../controller/web/static/", import.meta.url);
const EXTENT = { state: "complete", duration: 7200, read: 10, size: 10 };
const INDEX = { ...EXTENT, columns: 80, rows: 24, fault: "", stretches: [], marks: [], marked: 0 };
// Enough turns for every promise that waits for nothing but others.
const settle = async () => {
  for (let turn = 0; turn < 50; turn++) await null;
};

function load(around) {
  const window = { skerry: { ended() {} } };
  const context = vm.createContext({ window, AbortSignal: { timeout: () => undefined }, ...around });
  for (const name of ["player_queue.js", "player_driver.js"]) vm.runInContext(readFileSync(new URL(name, STATIC), "utf8"), context);
  return window.skerry;
}

class Room {
  constructor() {
    this.clock = 0;
    this.timers = [];
    this.asked = [];
    this.printed = "";
    const skerry = load({
      performance: { now: () => this.clock },
      setTimeout: (act, ms) => {
        const timer = { act, at: this.clock + ms };
        this.timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => (this.timers = this.timers.filter((each) => each !== timer)),
      fetch: (address) => new Promise((answer, fail) => this.asked.push({ address, answer, fail })),
    });
    this.tape = skerry.tape("/b");
    this.driver = this.tape.driver({
      dispatch: (name, told) => {
        if (name === "output") this.printed += told;
        if (name === "reset") this.printed = told.init;
      },
    });
  }

  static async begun() {
    const room = new Room();
    room.driver.init();
    await settle();
    await room.answer("index", INDEX);
    return room;
  }

  take(what) {
    const found = this.asked.findIndex(({ address }) => address.includes(what));
    assert.notEqual(found, -1, `${what} was not asked for`);
    return this.asked.splice(found, 1)[0];
  }

  async give(question, reply) {
    question.answer({ status: 200, ok: true, json: async () => reply });
    await settle();
  }

  async answer(what, reply) {
    await this.give(this.take(what), reply);
  }

  async segment(events, { next = 9, more = false } = {}) {
    await this.answer("segment", { ...EXTENT, events, next, more });
  }

  async screen(record, text = "") {
    await this.answer("screen", { columns: 80, rows: 24, text, record });
  }

  // Lets the clock go on, from timer to timer.
  async pass(ms) {
    const end = this.clock + ms;
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((each) => each !== due);
      this.clock = Math.max(this.clock, due.at);
      due.act();
      await settle();
    }
    this.clock = end;
  }
}

test("after a seek each text is shown once, whatever was on its way before", async () => {
  const room = await Room.begun();
  const before = room.take("segment");
  room.driver.seek(50);
  await settle();
  await room.screen(7);
  const after = room.take("segment?record=7");
  await room.give(before, { ...EXTENT, events: [[1, "o", "OLD"]], next: 3, more: true });
  room.driver.play();
  await settle();
  assert.equal(room.asked.length, 0, "what is asked for already is not asked for again");
  await room.give(after, { ...EXTENT, events: [[50.001, "o", "HELLO"]], next: 9, more: false });
  await room.pass(1000);
  assert.equal(room.printed, "HELLO");
});

test("what failed before a seek is no fault of what comes after", async () => {
  const room = await Room.begun();
  const before = room.take("segment");
  room.driver.seek(50);
  await settle();
  await room.screen(7);
  before.fail(new Error("it took too long"));
  await settle();
  assert.equal(room.tape.index().fault, "");
  assert.equal(room.tape.index().state, "complete");
});

test("what fails now is said, and the player stands still", async () => {
  const room = await Room.begun();
  room.take("segment").fail(new Error("it took too long"));
  await settle();
  assert.equal(room.tape.index().fault, "it took too long");
  room.driver.play();
  room.driver.seek(50);
  await settle();
  room.take("screen").fail(new Error("no answer"));
  await settle();
  assert.equal(room.tape.index().fault, "no answer");
  assert.equal(room.tape.isPlaying(), false);
});

test("a speed that is chosen while a seek is on its way shows nothing of where one was", async () => {
  const room = await Room.begun();
  await room.segment([[1, "o", "one "], [60, "o", "sixty "]], { more: true });
  room.driver.play();
  await room.pass(1000);
  assert.equal(room.printed, "one ");
  room.take("segment?record=9"); // never answered
  room.driver.seek(3600);
  room.tape.setSpeed(8);
  room.tape.setSkipIdle(false);
  await settle();
  assert.deepEqual(room.asked.map(({ address }) => address), ["/b/screen?at=3600.000"]);
  await room.screen(70, "the screen ");
  await room.segment([[3600, "o", "shown already "], [3608, "o", "later"]]);
  await room.pass(999);
  assert.equal(room.printed, "the screen ");
  await room.pass(2);
  assert.equal(room.printed, "the screen later");
});

test("a speed that is chosen while a segment is on its way is the speed it is played at", async () => {
  const room = await Room.begun();
  room.driver.play();
  await room.pass(100);
  room.tape.setSkipIdle(false);
  room.tape.setSpeed(4);
  assert.equal(room.asked.length, 1);
  await room.segment([[8, "o", "eight"]]);
  await room.pass(1999);
  assert.equal(room.printed, "");
  await room.pass(2);
  assert.equal(room.printed, "eight");
});

test("idle time is skipped while one wants it to be, and not a moment longer", async () => {
  const room = await Room.begun();
  await room.segment([[1, "o", "before "], [3601, "o", "after"]]);
  room.tape.setSkipIdle(false);
  room.driver.play();
  await room.pass(600_000);
  assert.equal(room.printed, "before ");
  assert.equal(room.tape.now(), 600);
  room.tape.setSkipIdle(true);
  assert.equal(room.tape.now(), 3600);
  await room.pass(1001);
  assert.equal(room.printed, "before after");
});

const TAMED = [
  ["a size that a terminal is to take", ["a\x1b[8;60000;60000tb"], "ab"],
  ["one cut in two", ["a\x1b[8;600", "00;60000tb"], "ab"],
  ["one cut before its bracket", ["a\x1b", "[8;600;600tb"], "ab"],
  ["one with a control in it, which still acts", ["a\x1b[8;600\x07", "00;60000tb"], "a\x07b"],
  ["one with a control before its bracket", ["a\x1b\x07[8;6", "00;600tb"], "a\x07b"],
  ["one with a delete in it", ["a\x1b[8;6\x7f00;600tb"], "ab"],
  ["one with the short introducer", ["a\x9b8;6", "0000;60000tb"], "ab"],
  ["one behind a sequence that is broken off", ["a\x1b[1;\x1b[8;600;600tb"], "ab"],
  ["one behind the short introducer, broken off", ["a\x1b[1;\x9b8;600;600tb"], "ab"],
  ["one with very many zeros", [`a\x1b[${"0".repeat(260)}8;6`, "0000;60000tb"], "ab"],
  ["one that is longer than any", [`a\x1b[${"0".repeat(100_000)}`, "8;60000;60000tb"], "ab"],
  ["one of another kind", ["a\x1b[>2tb\x1b[2;4$tc"], "abc"],
  ["a repetition, which ends with the line", ["x\x1b[65535b\x1b[3b\x1b[b\x1b[;99999b"], "x\x1b[80b\x1b[3b\x1b[1b\x1b[1b"],
  ["a repetition cut in two", ["x\x1b[655", "35b"], "x\x1b[80b"],
];
for (const [what, parts, tame] of TAMED) {
  test(`taken out of what is shown: ${what}`, () => {
    const skerry = load({});
    const tamer = skerry.tamer(() => 80);
    assert.equal(parts.map(tamer).join(""), tame);
  });
}

test("what draws is left as it was, however it is cut", () => {
  const drawn = "é😀\x1b[1;31mred\x1b[0m\r\n\x1b(B\x1b[?25l\x1b]0;a [8;1;1t title\x07\x1bP1$r\x1b\\\x1b[38:2::1:2:3m\x1bc\x1b7t\x1b[2Jb";
  for (let cut = 0; cut <= drawn.length; cut++) {
    const tamer = load({}).tamer(() => 80);
    assert.equal(tamer(drawn.slice(0, cut)) + tamer(drawn.slice(cut)), drawn);
  }
});

test("a sequence that a cancel ends takes nothing with it", () => {
  const tamer = load({}).tamer(() => 80);
  assert.equal(tamer("\x1b[8;6\x1800t"), "\x1800t");
});

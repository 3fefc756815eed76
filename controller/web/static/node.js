// One node's page: its facts keep themselves up to date, and the last day is drawn.
"use strict";

const EVERY_MS = 5 * 60_000;
const HOUR_S = 3600;
const facts = window.skerry.refreshable(document.getElementById("facts"));
const past = window.skerry.refreshable(document.getElementById("past"));
window.skerry.follow(["nodes", "sessions"], () => facts.refresh());
window.skerry.follow(["recordings", "audit"], () => past.refresh());

const plots = document.getElementById("plots");
const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A value without neighbours makes no line: it is drawn as a point.
function alone(plot, index) {
  const values = plot.data[index];
  const isThere = (at) => values[at] !== null && values[at] !== undefined;
  return values.map((_, at) => at).filter((at) => isThere(at) && !isThere(at - 1) && !isThere(at + 1));
}

// The axis begins where the values of any plot begin, and is an hour long at least.
function beginning(day) {
  const length = Math.max(0, ...day.series.map((series) => series.values.length));
  const firsts = day.series.map((series) => series.values.findIndex((value) => value !== null)).filter((first) => first >= 0);
  return Math.max(0, Math.min(...firsts, length - Math.ceil(HOUR_S / day.step)));
}

function options(series, width) {
  const axis = { stroke: colour("--ink-soft"), font: "11px sans-serif", ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
  const show = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(series.digits)} ${series.unit}`.trim());
  return {
    width,
    height: 110,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 5 } },
    padding: [6, 6, 0, 0],
    axes: [
      { ...axis, size: 22, space: 70, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })) },
      { ...axis, size: 60, space: 28, values: (_, ticks) => ticks.map((tick) => `${tick.toLocaleString(undefined, { maximumFractionDigits: 2 })} ${series.unit}`.trim()) },
    ],
    scales: { y: { range: (_, least, most) => (least === null ? [0, 1] : window.uPlot.rangeNum(Math.min(0, least), most || 1, 0.1, true)) } },
    series: [{}, { stroke: colour("--accent"), width: 1.5, fill: `color-mix(in srgb, ${colour("--accent")} 14%, transparent)`, points: { show: true, size: 4, filter: alone }, spanGaps: false, value: (_, value) => show(value) }],
  };
}

function draw(day) {
  for (const plot of drawn.values()) plot.destroy();
  drawn.clear();
  const first = beginning(day);
  for (const series of day.series) {
    const place = plots.querySelector(`[data-plot="${CSS.escape(series.name)}"] .plot`);
    if (!place) continue;
    const values = series.values.slice(first);
    const times = values.map((_, index) => day.begin / 1000 + (first + index) * day.step);
    drawn.set(place, new window.uPlot(options(series, place.clientWidth), [times, values], place));
  }
}

async function fetchDay() {
  if (!plots || !window.uPlot || document.hidden) return;
  try {
    const reply = await fetch(plots.dataset.source, { headers: { "X-Skerry-Script": "1" }, signal: AbortSignal.timeout(10_000) });
    if (!reply.ok) return;
    const day = await reply.json();
    draw(day);
    plots.day = day;
  } catch {
    // The words below each plot say the same; the next round tries again.
  }
}

if (plots && window.uPlot) {
  fetchDay();
  setInterval(fetchDay, EVERY_MS);
  new ResizeObserver(() => {
    for (const [place, plot] of drawn) if (place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: 110 });
  }).observe(plots);
  const redraw = () => plots.day && draw(plots.day);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}

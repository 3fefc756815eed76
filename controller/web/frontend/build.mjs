// Builds ../static/vendor from the packages that `npm ci` has installed: each file under a name that holds
// the hash of its content, a style sheet that names the fonts, a manifest that leads from the names that templates
// use to the files, and the licences. Nothing else is copied.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static", "vendor");
const fresh = join(here, "node_modules", ".skerry-vendor");

// The pages are in English; names and labels are shown in these two alphabets, anything else in the system's fonts.
const SUBSETS = ["latin", "latin-ext"];
const FONTS = [
  { family: "Inter Variable", pkg: "@fontsource-variable/inter", prefix: "inter", weights: "100 900" },
  { family: "JetBrains Mono Variable", pkg: "@fontsource-variable/jetbrains-mono", prefix: "jetbrains-mono", weights: "100 800" },
];

// What templates call a file, the package it comes from, and where it lies in there.
const FILES = [
  ["xterm.js", "@xterm/xterm", "lib/xterm.js"],
  ["xterm.css", "@xterm/xterm", "css/xterm.css"],
  ["xterm-fit.js", "@xterm/addon-fit", "lib/addon-fit.js"],
  ["xterm-search.js", "@xterm/addon-search", "lib/addon-search.js"],
  ["xterm-links.js", "@xterm/addon-web-links", "lib/addon-web-links.js"],
  ["asciinema-player.js", "asciinema-player", "dist/bundle/asciinema-player.min.js"],
  ["asciinema-player.css", "asciinema-player", "dist/bundle/asciinema-player.css"],
  ["uplot.js", "uplot", "dist/uPlot.iife.min.js"],
  ["uplot.css", "uplot", "dist/uPlot.min.css"],
];
// These are in the player's bundle, and want to be named with it.
const BUNDLED = ["solid-js", "solid-transition-group", "@babel/runtime"];
// The maps are not copied; a browser's tools would ask for them in vain.
const MAP = /\n?\/\/# sourceMappingURL=\S+\s*$/;

async function place(source, name, extension) {
  const raw = await readFile(source);
  const body = extension === "js" ? Buffer.from(raw.toString("utf8").replace(MAP, "\n")) : raw;
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 10);
  const placed = `${name}.${hash}.${extension}`;
  await writeFile(join(fresh, placed), body);
  return placed;
}

async function font({ family, pkg, prefix, weights }) {
  const folder = join(here, "node_modules", pkg);
  const ranges = JSON.parse(await readFile(join(folder, "unicode.json"), "utf8"));
  const faces = [];
  for (const subset of SUBSETS) {
    const file = await place(join(folder, "files", `${prefix}-${subset}-wght-normal.woff2`), `${prefix}-${subset}`, "woff2");
    faces.push(
      `@font-face{font-family:"${family}";font-style:normal;font-display:swap;font-weight:${weights};` +
        `src:url(${file}) format("woff2");unicode-range:${ranges[subset]}}`,
    );
  }
  const licence = await readFile(join(folder, "LICENSE"), "utf8");
  await writeFile(join(fresh, `LICENSE-${prefix}.txt`), licence);
  return faces;
}

async function file([name, pkg, path]) {
  const dot = name.lastIndexOf(".");
  return [name, await place(join(here, "node_modules", pkg, path), name.slice(0, dot), name.slice(dot + 1))];
}

async function licence(pkg) {
  const text = await readFile(join(here, "node_modules", pkg, "LICENSE"), "utf8");
  await writeFile(join(fresh, `LICENSE-${pkg.replace("@", "").replace("/", "-")}.txt`), text);
}

await rm(fresh, { recursive: true, force: true });
await mkdir(fresh, { recursive: true });
const faces = (await Promise.all(FONTS.map(font))).flat();
await writeFile(join(fresh, "vendor.css"), `${faces.join("\n")}\n`);
const manifest = Object.fromEntries(await Promise.all(FILES.map(file)));
await writeFile(join(fresh, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
await Promise.all([...new Set(FILES.map(([, pkg]) => pkg)), ...BUNDLED].map(licence));
await rm(target, { recursive: true, force: true });
await rename(fresh, target);
console.log(`built ${target}`);

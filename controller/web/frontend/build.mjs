// Builds ../static/vendor from the packages that `npm ci` has installed: each file under a name that holds
// the hash of its content, a style sheet that names them, and the licences. Nothing else is copied.
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

async function place(source, name, extension) {
  const body = await readFile(source);
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

await rm(fresh, { recursive: true, force: true });
await mkdir(fresh, { recursive: true });
const faces = (await Promise.all(FONTS.map(font))).flat();
await writeFile(join(fresh, "vendor.css"), `${faces.join("\n")}\n`);
await rm(target, { recursive: true, force: true });
await rename(fresh, target);
console.log(`built ${target}`);

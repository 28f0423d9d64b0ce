// Builds the front end into dist/, which the daemon embeds when it is built next:
//   dist/watch.html            the page, with places that the daemon fills ({{title}}, {{stream}}, {{playlist}})
//   dist/assets/<name>-<hash>  script and style; the hash lets browsers keep them for ever
//   dist/assets/licences.txt   of what the script contains
// With --tests: the unit tests into .test/, for node's own runner.
// With --test-page: what the end-to-end tests put into pages, into .test-page/. The daemon has no part of it.
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { build } from "esbuild";

const root = new URL(".", import.meta.url).pathname;
const at = (path) => root + path;

if (process.argv.includes("--tests")) {
  await rm(at(".test"), { recursive: true, force: true });
  const tests = (await readdir(at("src"))).filter((name) => name.endsWith(".test.ts")).map((name) => at(`src/${name}`));
  await build({ entryPoints: tests, bundle: true, platform: "node", format: "esm", outdir: at(".test"), outExtension: { ".js": ".mjs" } });
} else if (process.argv.includes("--test-page")) {
  await build({ entryPoints: [at("test-page/hls.ts"), at("test-page/shaka.ts")], bundle: true, minify: true, format: "iife", outdir: at(".test-page") });
} else {
  // The folder itself stays: cargo watches it.
  for (const name of await readdir(at("dist")).catch(() => [])) await rm(at(`dist/${name}`), { recursive: true });
  const { metafile } = await build({
    entryPoints: [at("src/watch.ts"), at("src/watch.css")],
    bundle: true,
    minify: true,
    format: "esm",
    // light-dark() and the like are not used, so that a phone of 2021 shows the page as meant.
    target: ["chrome90", "firefox90", "safari15"],
    outdir: at("dist/assets"),
    entryNames: "[name]-[hash]",
    metafile: true,
    absWorkingDir: root,
  });
  const built = Object.keys(metafile.outputs).map((path) => basename(path));
  const named = (extension) => `/assets/${built.find((name) => name.endsWith(extension))}`;
  const page = await readFile(at("src/watch.html"), "utf8");
  await writeFile(at("dist/watch.html"), page.replace("watch.css", named(".css")).replace("watch.ts", named(".js")));
  const licence = await readFile(at("node_modules/hls.js/LICENSE"), "utf8");
  await writeFile(at("dist/assets/licences.txt"), `hls.js\n======\n\n${licence}`);
}

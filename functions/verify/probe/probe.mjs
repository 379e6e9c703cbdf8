// The probe for Node.js: loads every package of a layer in a fresh process and says which ones fail.
//
// The counterpart of probe.py, for the packages in /opt/nodejs/node_modules. In: {"packages": [...], "modules": [...],
// "smoke": "smoke.mjs"}: the places of packages as in their lock ("qs", "express/node_modules/qs"), what is to be loaded
// besides, by name, and the file beside this one whose handler({}, context) is run in the end, if any. A package is
// required; where Node.js says that it is for import alone, it is imported. Packages without an entry, such as those of
// types, are skipped.
//
// Nothing but what Node.js itself brings is imported. What LAMINA_INIT lists is loaded when the function starts.

import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const HERE = fileURLToPath(import.meta.url);
const OPT = process.env.LAMINA_OPT ?? "/opt";
const LINKERS = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
const MARGIN_MS = 5_000;
const SMOKE_MS = 60_000;
const STALLED_MS = Number(process.env.LAMINA_STALLED_MS ?? 45_000);
const MOST_FAILURES = 400;
const LONGEST_TRACE = 6_000;
const FOR_IMPORT = ["ERR_REQUIRE_ESM", "ERR_REQUIRE_ASYNC_MODULE", "ERR_PACKAGE_PATH_NOT_EXPORTED"];

const isChild = Boolean(process.env.LAMINA_CHILD);
const importers = new Map();

// Where a package is looked for from, and by which name: "a/node_modules/b" is the b that a finds.
function lookup(place) {
  const at = place.lastIndexOf("/node_modules/");
  const from = at < 0 ? path.join(OPT, "nodejs") : path.join(OPT, "nodejs", "node_modules", place.slice(0, at));
  return { from, name: at < 0 ? place : place.slice(at + "/node_modules/".length) };
}

// An ES module that can import what lies in a folder's node_modules. They are found from the importing file alone.
async function importer(from) {
  if (!importers.has(from)) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "probe-"));
    fs.symlinkSync(path.join(from, "node_modules"), path.join(folder, "node_modules"));
    fs.writeFileSync(path.join(folder, "importer.mjs"), "export default (name) => import(name);\n");
    importers.set(from, (await import(pathToFileURL(path.join(folder, "importer.mjs")))).default);
  }
  return importers.get(from);
}

async function load({ from, name }) {
  try {
    createRequire(path.join(from, "noop.js"))(name);
  } catch (error) {
    if (!FOR_IMPORT.includes(error?.code)) throw error;
    await (await importer(from))(name);
  }
}

// Whether a package has something that its name alone loads.
function hasEntry({ from, name }) {
  const folder = path.join(from, "node_modules", name);
  let said = {};
  try {
    said = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  } catch {
    // Without one that can be read it is an index.js or nothing.
  }
  const { exports: exported, main } = said;
  if (typeof exported === "string" || Array.isArray(exported)) return true;
  if (exported && typeof exported === "object") {
    const keys = Object.keys(exported);
    return keys.includes(".") || !keys.some((key) => key.startsWith("."));
  }
  return Boolean(main) || ["index.js", "index.json", "index.node"].some((file) => fs.existsSync(path.join(folder, file)));
}

function failureOf(error) {
  const isObject = error !== null && typeof error === "object";
  return {
    type: String((isObject && (error.code ?? error.name)) || typeof error),
    message: String(isObject ? error.message : error).slice(0, 1000),
    traceback: String((isObject && error.stack) || "").slice(0, LONGEST_TRACE),
  };
}

const problemOf = (module, type, message) => ({ module, type, message, traceback: "", milliseconds: 0 });

// Run this file as a program of its own; `line` gets what it reports, an object each.
// Resolves to how it ended: its status or signal, or null where it said nothing for too long or time was up.
function program(mode, input, patience, deadline, line) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, HERE, mode], {
      stdio: ["pipe", "ignore", "ignore", "pipe"],
      env: { ...process.env, LAMINA_INIT: "", LAMINA_CHILD: "1" },
      cwd: os.tmpdir(),
    });
    let rest = "", timer;
    const give = () => {
      child.stdio[3].destroy();
      child.kill("SIGKILL");
      resolve(null);
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(give, Math.max(Math.min(patience, deadline - Date.now()), 1));
    };
    child.stdio[3].on("data", (chunk) => {
      wait();
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      for (const text of lines) line(JSON.parse(text));
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      resolve(signal ?? status);
    });
    child.stdin.on("error", () => {}); // it may have ended before it read anything
    child.stdin.end(JSON.stringify(input));
    wait();
  });
}

// Load packages in one process until it is through, stalls or dies; gives back what is left.
async function oneChild(wanted, deadline, tally) {
  let position = 0, current = null;
  const ended = await program("load", wanted, STALLED_MS, deadline, (message) => {
    if ("begin" in message) current = message.begin;
    else {
      if (message.skip) tally.skipped += 1;
      else tally.results.push(message);
      current = null;
      position += 1;
    }
  });
  if (ended === null && Date.now() >= deadline) return wanted.slice(position);
  if (ended !== 0 || position < wanted.length) {
    const module = current ?? wanted[position]?.module;
    if (module !== undefined) {
      tally.results.push(
        ended === null
          ? problemOf(module, "ImportStalled", `did not return within ${Math.round(STALLED_MS / 1000)} s`)
          : problemOf(module, "InterpreterEnded", `ended the process with ${ended}`),
      );
      position += 1;
    }
  }
  return wanted.slice(position);
}

async function smokeTest(name, context, end) {
  let said = null;
  const told = Object.fromEntries(Object.entries(context).filter(([, value]) => typeof value !== "function"));
  const patience = Math.max(end - Date.now(), 1000);
  const ended = await program("smoke", { name, told, patience }, patience, end, (message) => (said = message));
  if (said !== null) return { module: name, ...said };
  if (ended === null) return problemOf(name, "SmokeStalled", `did not return within ${Math.round(patience / 1000)} s`);
  return problemOf(name, "InterpreterEnded", `ended the process with ${ended}`);
}

// Programs and libraries of the layer that need a library which is not there.
function natives() {
  const linker = LINKERS.find((file) => fs.existsSync(file));
  const found = [];
  for (const folder of ["bin", "lib"]) {
    const root = path.join(OPT, folder);
    if (!linker || !fs.existsSync(root)) continue;
    for (const entry of fs.readdirSync(root, { recursive: true }).sort()) {
      const file = path.join(root, entry);
      if (!fs.lstatSync(file).isFile()) continue;
      const head = Buffer.alloc(4), opened = fs.openSync(file);
      fs.readSync(opened, head);
      fs.closeSync(opened);
      if (head.toString("latin1") !== "\x7fELF") continue;
      // It lists what it finds and what not, and runs nothing.
      const asked = spawnSync(linker, [file], { encoding: "utf8", env: { ...process.env, LD_TRACE_LOADED_OBJECTS: "1" } });
      const missing = `${asked.stdout}\n${asked.stderr}`.split("\n").filter((text) => text.includes("not found"));
      if (missing.length) {
        const said = missing.map((text) => text.trim()).join("; ");
        found.push(problemOf(`${folder}/${entry}`, "LibraryMissing", said.slice(0, 1000)));
      }
    }
  }
  return found;
}

export const handler = async (event, context) => {
  const began = Date.now();
  const end = began + context.getRemainingTimeInMillis() - MARGIN_MS;
  const deadline = event.smoke ? Math.max(began, end - SMOKE_MS) : end;
  const packages = (event.packages ?? []).map((module) => ({ module, whole: true, ...lookup(module) }));
  const besides = (event.modules ?? []).map((module) => ({ module, whole: false, from: path.join(OPT, "nodejs"), name: module }));
  const wanted = [...new Map([...besides, ...packages].map((item) => [item.module, item])).values()];
  const tally = { results: [], skipped: 0 };
  let pending = wanted;
  while (pending.length && Date.now() < deadline) pending = await oneChild(pending, deadline, tally);
  const failures = [...tally.results, ...natives()].filter((result) => "type" in result);
  return {
    version: process.versions.node,
    modules: wanted.length,
    names: wanted.map((item) => item.module),
    smoke: event.smoke ? await smokeTest(event.smoke, context, end) : null,
    imported: tally.results.filter((result) => !("type" in result)).length,
    skipped: tally.skipped,
    untried: pending.length,
    failed: failures.length,
    failures: failures.slice(0, MOST_FAILURES),
    milliseconds: Date.now() - began,
  };
};

async function loadAll(wanted, report) {
  for (const item of wanted) {
    if (item.whole && fs.existsSync(path.join(item.from, "node_modules", item.name)) && !hasEntry(item)) {
      report({ skip: item.module });
      continue;
    }
    report({ begin: item.module });
    const result = { module: item.module }, start = Date.now();
    try {
      await load(item);
    } catch (error) {
      Object.assign(result, failureOf(error));
    }
    report({ ...result, milliseconds: Date.now() - start });
  }
}

async function smoke({ name, told, patience }, report) {
  const start = Date.now();
  const context = { ...told, getRemainingTimeInMillis: () => Math.max(start + patience - Date.now(), 0) };
  let result = {};
  try {
    const module = await import(pathToFileURL(path.join(path.dirname(HERE), name)));
    const run = module.handler ?? module.default?.handler;
    if (run.length < 3) await run({}, context);
    else await new Promise((resolve, reject) => run({}, context, (error, value) => (error ? reject(error) : resolve(value))));
  } catch (error) {
    result = failureOf(error);
  }
  report({ ...result, milliseconds: Date.now() - start });
}

if (isChild) {
  const report = (message) => fs.writeSync(3, `${JSON.stringify(message)}\n`);
  const input = JSON.parse(fs.readFileSync(0, "utf8"));
  // What a package begins and fails at afterwards is not its loading.
  process.on("uncaughtException", () => {});
  process.on("unhandledRejection", () => {});
  await (process.argv[2] === "smoke" ? smoke(input, report) : loadAll(input, report));
  process.exit(0);
} else {
  for (const module of (process.env.LAMINA_INIT ?? "").split(",").filter(Boolean)) {
    await load(lookup(module)).catch(() => {});
  }
}

// What a Node.js execution environment runs: a client of Lambda's Runtime API, with this function's variables.
//
// It finds and calls handlers, logs, and reports errors as Lambda's own runtimes for Node.js do: handlers that return a
// promise, and up to Node.js 22 those that take a callback. It writes the same marks into the log as `bootstrap.py`.
// Nothing but what Node.js itself brings is imported. Response streaming is not there.

import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import util from "node:util";

const began = process.hrtime.bigint();
const MARK = "\x1e"; // begins a line that is for the local Lambda and not for the log
const setup = JSON.parse(process.env.LAMINA_SETUP);
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const api = "/2018-06-01/runtime";
const environment = { ...setup.environment, AWS_LAMBDA_RUNTIME_API: `${host}:${port}` };
for (const name of Object.keys(process.env)) delete process.env[name];
Object.assign(process.env, environment);
const require = createRequire(path.join(environment.LAMBDA_TASK_ROOT, "noop.js"));
let request = ""; // the ID of the invocation that runs
let memory = 0;

class Failure extends Error {
  constructor(type, message) {
    super(message);
    this.name = type;
  }
}

const mark = (text) => fs.writeSync(1, `${MARK}${text}\n`);

function weigh() {
  const used = process.resourceUsage().maxRSS >> 10;
  if (used !== memory) mark(`memory ${(memory = used)}`);
}

// One entry of the log. Its line breaks are written as carriage returns: the local Lambda shows them as what they are.
function log(level, text) {
  const line = [new Date().toISOString(), request || "undefined", level, text].join("\t");
  fs.writeSync(1, line.replaceAll("\r\n", "\n").replaceAll("\n", "\r") + "\n");
}

for (const [method, level] of Object.entries({
  log: "INFO", info: "INFO", debug: "DEBUG", trace: "TRACE", warn: "WARN", error: "ERROR",
})) {
  console[method] = (...parts) => log(level, util.format(...parts));
}

function call(method, route, body = "", headers = {}) {
  return new Promise((resolve, reject) => {
    const options = { host, port, method, path: api + route, agent, headers: { ...headers } };
    if (method === "POST") options.headers["Content-Length"] = Buffer.byteLength(body);
    const sent = http.request(options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(parts).toString() }));
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const isError = (value) => value instanceof Error || util.types.isNativeError(value);

// An error as it is answered; anything can be thrown.
function described(error) {
  if (!isError(error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
  return {
    errorType: error.name,
    errorMessage: error.message,
    trace: String(error.stack ?? "").split("\n"),
  };
}

function logged(kind, error) {
  const { errorType, errorMessage, trace } = described(error);
  const known = isError(error) ? { ...error } : {};
  log("ERROR", `${kind} \t${JSON.stringify({ errorType, errorMessage, ...known, stack: trace })}`);
}

const typed = (error) => ({
  "Content-Type": "application/json",
  "Lambda-Runtime-Function-Error-Type": encodeURIComponent(described(error).errorType),
});

// The end of this process because of an error that nobody caught.
async function die(kind, error, status) {
  logged(kind, error);
  mark("error");
  const route = request ? `/invocation/${request}/error` : "/init/error";
  await call("POST", route, JSON.stringify(described(error)), typed(error)).catch(() => {});
  process.exit(status);
}

process.on("uncaughtException", (error) => die("Uncaught Exception", error, 129));
process.on("unhandledRejection", (reason) => {
  const error = new Failure("Runtime.UnhandledPromiseRejection", String(reason));
  error.reason = reason;
  return die("Unhandled Promise Rejection", error, 128);
});

process.on("exit", (status) => mark(`exit ${status}`));

const there = (file) => fs.existsSync(file) && fs.statSync(file).isFile();

// Whether the package.json that a file belongs to makes its .js an ES module.
function isModule(file, root) {
  for (let folder = path.dirname(file); folder.startsWith(root); folder = path.dirname(folder)) {
    const description = path.join(folder, "package.json");
    if (there(description)) {
      try {
        return JSON.parse(fs.readFileSync(description, "utf8")).type === "module";
      } catch {
        return false;
      }
    }
    if (folder === path.dirname(folder)) break;
  }
  return false;
}

async function load(root, name) {
  const base = path.resolve(root, name);
  if (there(base)) return require(base);
  if (there(`${base}.js`)) {
    return isModule(`${base}.js`, root) ? import(pathToFileURL(`${base}.js`)) : require(`${base}.js`);
  }
  if (there(`${base}.mjs`)) return import(pathToFileURL(`${base}.mjs`));
  if (there(`${base}.cjs`)) return require(`${base}.cjs`);
  return require(require.resolve(name, { paths: [root, path.dirname(base)] }));
}

async function findHandler(root, text) {
  if (text.includes("..")) {
    throw new Failure("Runtime.MalformedHandlerName", `'${text}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const [, file, names] = /^([^.]*)\.(.*)$/.exec(path.basename(text)) ?? [];
  if (!names) throw new Failure("Runtime.MalformedHandlerName", "Bad handler");
  const name = path.join(text.slice(0, text.length - path.basename(text).length), file);
  let found;
  try {
    found = await load(root, name);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Failure("Runtime.UserCodeSyntaxError", `SyntaxError: ${error.message}`);
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") {
      throw new Failure("Runtime.ImportModuleError", `Error: ${error.message}`);
    }
    throw error;
  }
  const handler = names.split(".").reduce((value, key) => value?.[key], found) ?? names.split(".").reduce((value, key) => value?.[key], found?.default);
  if (!handler) throw new Failure("Runtime.HandlerNotFound", `${text} is undefined or not exported`);
  if (typeof handler !== "function") throw new Failure("Runtime.HandlerNotFound", `${text} is not a function`);
  if (setup.node >= 24 && handler.length >= 3) {
    throw new Failure("Runtime.CallbackHandlerDeprecated", `Lambda has no callback-based handlers from Node.js 24 on: write ${text} as an async function of (event, context)`);
  }
  return handler;
}

const parsed = (text) => {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
};

function contextOf(headers) {
  const sent = parsed(headers["lambda-runtime-client-context"]) ?? {};
  const deadline = Date.now() + setup.timeout * 1000;
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: environment.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: environment.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: environment.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environment.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environment.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parsed(sent.context),
    identity: undefined,
    invokedFunctionArn: setup.arn + (sent.qualifier ? `:${sent.qualifier}` : ""),
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

// What a handler answers: its promise, or up to Node.js 22 its callback or the end of all that it had begun.
function answerOf(handler, event, context) {
  if (setup.node >= 24) return Promise.resolve().then(() => handler(event, context));
  return new Promise((resolve, reject) => {
    let settled = false;
    const deliver = (error, value) => (error === null || error === undefined ? resolve(value) : reject(error));
    const idle = () => settled || deliver(null, null);
    const callback = (error, value) => {
      if (settled) return;
      settled = true;
      process.off("beforeExit", idle);
      if (context.callbackWaitsForEmptyEventLoop && !error) process.once("beforeExit", () => deliver(error, value));
      else setImmediate(deliver, error, value);
    };
    context.done = callback;
    context.succeed = (value) => { context.callbackWaitsForEmptyEventLoop = false; callback(null, value); };
    context.fail = (error) => callback(error ?? "handled");
    const returned = handler(event, context, callback);
    if (typeof returned?.then === "function") {
      settled = true;
      returned.then(resolve, reject);
    } else if (!settled) process.once("beforeExit", idle);
  });
}

async function serve(handler) {
  for (;;) {
    const event = await call("GET", "/invocation/next");
    const context = contextOf(event.headers);
    request = context.awsRequestId;
    process.env._X_AMZN_TRACE_ID = `Root=1-${Math.floor(Date.now() / 1000).toString(16)}-000000000000000000000000;Sampled=0`;
    let body;
    try {
      const value = await answerOf(handler, JSON.parse(event.body), context);
      body = JSON.stringify(value === undefined ? null : value);
    } catch (error) {
      logged("Invoke Error", error);
      mark("error");
      weigh();
      await call("POST", `/invocation/${request}/error`, JSON.stringify(described(error)), typed(error));
      request = "";
      continue;
    }
    weigh();
    await call("POST", `/invocation/${request}/response`, body, { "Content-Type": "application/json" });
    request = "";
  }
}

let handler;
try {
  handler = await findHandler(environment.LAMBDA_TASK_ROOT, environment._HANDLER);
} catch (error) {
  await die("Uncaught Exception", error, 129);
}
const now = process.hrtime.bigint();
mark(`init ${Number(now) / 1e9} ${(Number(now - began) / 1e6).toFixed(2)}`);
// A socket that waits for the next event keeps the process alive; without one the event loop of a handler is empty.
serve(handler).catch((error) => die("Uncaught Exception", error, 129));

// An application on the JavaScript implementation of RSocket: what it does is told line by line on standard output.
//
//     client.mjs tcp|websocket PORT RUN [MTU]
//
// RUN names its series and its execution; with MTU, requests go in fragments of so many bytes.
import { constants, createCipheriv, createHash, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { createRequire } from "node:module";

// The packages stand in the folder that is told, not beside this file.
const require = createRequire(`${process.env.RSOCKET_PACKAGES}/`);
const { RSocketConnector } = require("rsocket-core");
const { TcpClientTransport } = require("rsocket-tcp-client");
const { WebsocketClientTransport } = require("rsocket-websocket-client");
const WebSocket = require("ws");

const [kind, port, run, mtu] = process.argv.slice(2);
const tell = (...words) => console.log(...words);
const hash = (name, ...parts) => parts.reduce((h, part) => h.update(part), createHash(name)).digest();
const xor = (a, b) => Buffer.from(a.map((byte, i) => byte ^ b[i]));

function mgf1(seed, length) {
  const blocks = [];
  for (let i = 0; i * 20 < length; i++) {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(i);
    blocks.push(hash("sha1", seed, counter));
  }
  return Buffer.concat(blocks).subarray(0, length);
}

// OAEP with SHA-256 and MGF1 with SHA-1: node offers only the same hash for both.
function wrap(der, key) {
  const rsa = createPublicKey({ key: der, format: "der", type: "spki" });
  const size = rsa.asymmetricKeyDetails.modulusLength / 8;
  const zeros = Buffer.alloc(size - key.length - 2 * 32 - 2);
  const block = Buffer.concat([hash("sha256"), zeros, Buffer.from([1]), key]);
  const seed = randomBytes(32);
  const masked = xor(block, mgf1(seed, block.length));
  const padded = Buffer.concat([Buffer.from([0]), xor(seed, mgf1(masked, 32)), masked]);
  return publicEncrypt({ key: rsa, padding: constants.RSA_NO_PADDING }, padded);
}

// A block of snappy's raw format that compresses nothing: the length, then literals of 60 bytes at most.
function snappy(text) {
  const bytes = Buffer.from(text);
  const parts = [];
  let length = bytes.length;
  for (; length > 127; length >>= 7) parts.push(Buffer.from([(length & 127) | 128]));
  parts.push(Buffer.from([length]));
  for (let at = 0; at < bytes.length; at += 60) {
    const literal = bytes.subarray(at, at + 60);
    parts.push(Buffer.from([(literal.length - 1) << 2]), literal);
  }
  return Buffer.concat(parts);
}

function seal(der, text) {
  const key = randomBytes(16);
  const cipher = createCipheriv("aes-128-ecb", key, null);
  return { data: Buffer.concat([cipher.update(snappy(text)), cipher.final()]), metadata: wrap(der, key) };
}

function text(kind, lines = 1) {
  const labels = `task_execution_id="${run}-${kind}",task_external_execution_id="p"`;
  const more = Array.from({ length: lines - 1 }, (_, i) => `filler{i="${i}",${labels}} ${i}\n`);
  return `# TYPE peer_total counter\npeer_total{${labels}} 7\n${more.join("")}`;
}

const transport = () =>
  kind === "tcp"
    ? new TcpClientTransport({ connectionOptions: { host: "127.0.0.1", port: Number(port) } })
    : new WebsocketClientTransport({
        url: `ws://127.0.0.1:${port}/any/path`,
        wsCreator: (url) => new WebSocket(url),
      });

// A promise and what settles it.
function later() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  return it;
}

function answer(ask) {
  const { promise, resolve, reject } = later();
  ask({ onNext: resolve, onError: reject, onComplete: resolve, onExtension() {}, request() {}, cancel() {} });
  return promise;
}

async function connect(settings) {
  const [key, pulled] = [later(), later()];
  const responder = {
    fireAndForget(payload, stream) {
      key.resolve(Buffer.from(payload.data));
      stream.onComplete();
      return { cancel() {} };
    },
    requestResponse(payload, stream) {
      pulled.resolve();
      stream.onNext(seal(payload.data, text("live")), true);
      return { cancel() {}, onExtension() {} };
    },
  };
  const client = await new RSocketConnector({ transport: transport(), responder, ...settings }).connect();
  const closed = later();
  client.onClose((error) => closed.resolve(error));
  return { client, key: key.promise, pulled: pulled.promise, closed: closed.promise };
}

const failure = (ask) => answer(ask).then(() => "taken", (error) => `${error.code} ${error.message}`);

async function converse() {
  const fragmentation = mtu ? { fragmentation: { maxOutboundFragmentSize: Number(mtu) } } : {};
  const { client, key: told, pulled, closed } = await connect(fragmentation);
  const key = await told;
  tell("key", key.length);
  await pulled;
  tell("pulled");
  await answer((stream) => client.requestResponse(seal(key, text("response", 200)), stream));
  tell("acknowledged");
  await answer((stream) => client.fireAndForget(seal(key, text("fnf", 200)), stream));
  tell("fired");
  const payload = { data: Buffer.from("x") };
  tell("stream", await failure((stream) => client.requestStream(payload, 1, stream)));
  tell("channel", await failure((stream) => client.requestChannel(payload, 1, false, stream)));
  const wrong = { data: Buffer.from("x"), metadata: Buffer.from("y") };
  tell("unreadable", await failure((stream) => client.requestResponse(wrong, stream)));
  // The connection lives on after all that.
  await answer((stream) => client.requestResponse(seal(key, text("last")), stream));
  tell("acknowledged again");
  client.close();
  await closed;
  tell("closed");
}

async function refused(settings) {
  const error = await (await connect(settings)).closed;
  return [error?.code, error?.message];
}

await converse();
const reconnectFunction = () => new Promise(() => {});
const resume = { tokenGenerator: () => Buffer.from("token"), reconnectFunction };
const [lease, resumed] = await Promise.all([refused({ lease: {} }), refused({ resume })]);
tell("lease", ...lease);
tell("resume", ...resumed);
process.exit(0);

// Verifies and signs with the reference library of Standard Webhooks; ed25519, which it does not know, with node's own crypto.
//
// Each line of standard input is a JSON object, {"verify": {..}} or {"sign": {..}}; each gets one line of JSON.

const crypto = require("node:crypto");
const readline = require("node:readline");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

// What stands before the 32 bytes of an ed25519 key in DER (RFC 8410).
const PRIVATE_DER = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC_DER = Buffer.from("302a300506032b6570032100", "hex");

const decoded = (key) => Buffer.from(key.slice("whxk_".length), "base64");
const content = ({ id, timestamp, body }) => Buffer.from(`${id}.${timestamp}.${body}`);

function verify(message) {
  if (message.key.startsWith("whpk_")) {
    const der = Buffer.concat([PUBLIC_DER, decoded(message.key)]);
    const key = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
    return message.signature
      .split(" ")
      .map((signature) => signature.split(","))
      .some(([version, encoded]) => version === "v1a" && crypto.verify(null, content(message), key, Buffer.from(encoded, "base64")));
  }
  const headers = {
    "webhook-id": message.id,
    "webhook-timestamp": String(message.timestamp),
    "webhook-signature": message.signature,
  };
  try {
    new Webhook(message.key).verify(message.body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

function sign(message) {
  if (message.key.startsWith("whsk_")) {
    const der = Buffer.concat([PRIVATE_DER, decoded(message.key).subarray(0, 32)]);
    const key = crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    return `v1a,${crypto.sign(null, content(message), key).toString("base64")}`;
  }
  return new Webhook(message.key).sign(message.id, new Date(message.timestamp * 1000), message.body);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [[order, message]] = Object.entries(JSON.parse(line));
  console.log(JSON.stringify({ verify, sign }[order](message)));
});

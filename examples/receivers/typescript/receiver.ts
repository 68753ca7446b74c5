// Receives webhooks: believes signed ones only, takes each once, prints a line per event.
//
//     npm ci
//     WEBHOOK_SECRET=whsec_... npx tsx receiver.ts 8090

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

type Event = { type?: string; subject?: string };

const BODY_BYTES_MAX = 1 << 20;
// A real receiver keeps the ids where it keeps what it did with the event, and writes both in one transaction.
const IDS_KEPT = 10_000;

const secret = process.env.WEBHOOK_SECRET;
if (!secret) throw new Error("WEBHOOK_SECRET is missing");
const webhook = new Webhook(secret);
const seen = new Set<string>();

function isNew(id: string): boolean {
  if (seen.has(id)) return false;
  seen.add(id);
  // A set is in the order of its insertions, so the first is the oldest.
  if (seen.size > IDS_KEPT) seen.delete(seen.values().next().value!);
  return true;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Leaving the loop must not close the connection: the sender is told why.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function statusFor(request: IncomingMessage): Promise<number> {
  if (request.method !== "POST") return 405;
  const body = await bodyOf(request);
  if (!body) return 413;
  const headers = request.headers as Record<string, string>;
  let events: Event | Event[];
  try {
    // Over the bytes as they came: parsing and writing them again would change them.
    events = webhook.verify(body, headers) as Event | Event[];
  } catch {
    return 400;
  }
  const id = headers["webhook-id"];
  if (isNew(id)) {
    for (const event of [events].flat()) {
      console.log(id, event.type ?? headers["ce-type"] ?? "-", event.subject ?? "-");
    }
  }
  // A repetition is answered like the first: it was taken.
  return 204;
}

const server = createServer(async (request, response) => {
  response.statusCode = await statusFor(request).catch(() => 400);
  if (response.statusCode === 413) response.setHeader("connection", "close");
  response.end();
});
server.listen(Number(process.argv[2] ?? process.env.PORT ?? 8090), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

// A service by AMQP 1.0: node rhea.mjs PORT QUEUE ADDRESSES, with v2 (RabbitMQ 4) or v1 for the latter.
import { createRequire } from "node:module";

const rhea = createRequire(new URL("../clients/node/package.json", import.meta.url))("rhea");
const [port, queue, version] = process.argv.slice(2);
const address = (name) => (version === "v2" ? `/queues/${encodeURIComponent(name)}` : `/amq/queue/${name}`);
const name = (replyTo) => decodeURIComponent(replyTo.replace(/^\/queues?\//, ""));

const connection = rhea.connect({ host: "127.0.0.1", port, username: "guest", password: "guest" });
const senders = new Map(); // one for each results queue, kept: RabbitMQ 3 has no sender without a target
const send = (to, message) => {
  const kept = senders.get(to) ?? connection.open_sender({ target: address(to), autosettle: true });
  senders.set(to, kept);
  if (kept.sendable()) kept.send(message);
  else kept.once("sendable", () => kept.send(message));
};

connection.open_receiver({ source: address(queue), autoaccept: false, credit_window: 10 });
connection.on("receiver_open", () => console.log("ready"));
connection.on("message", ({ message, delivery }) => {
  const request = JSON.parse(message.body.content ?? message.body);
  if (message.reply_to !== undefined && Date.now() < request.deadline) {
    const status = request.data.user === "fails" ? { application_properties: { "x-status": "failed" } } : {};
    const body = JSON.stringify({ action: "allow", by: "rhea" });
    send(name(message.reply_to), { correlation_id: message.correlation_id, body, ...status });
  }
  delivery.accept();
});

// rhea's example server.js, by AMQP 1.0. `kept`: with RabbitMQ 3's addresses, and senders that are kept.
import rhea from "rhea";

const { EVAPI_AMQP_URL, SERVICE } = process.env;
const { hostname: host, port, username, password } = new URL(EVAPI_AMQP_URL);
const connection = rhea.connect({ host, port, username, password });
const senders = new Map();
const body = JSON.stringify({ action: "allow" });
const anonymous = process.argv[2] === "example" ? connection.open_sender({ target: {} }) : undefined;
connection.open_receiver(`/amq/queue/evapi.decide.${SERVICE}`);
connection.on("message", ({ message: { reply_to, correlation_id } }) => {
  if (anonymous) return anonymous.send({ to: reply_to, correlation_id, body });
  const name = reply_to.replace("/queue/", "");
  const sender = senders.get(name) ?? connection.open_sender(`/amq/queue/${name}`);
  senders.set(name, sender);
  if (sender.sendable()) sender.send({ correlation_id, body });
  else sender.once("sendable", () => sender.send({ correlation_id, body }));
});

// RabbitMQ's tutorial 6 (RPC), with amqplib.
import { connect } from "amqplib";

const { EVAPI_AMQP_URL, SERVICE, EVENT } = process.env;
const queue = `evapi.decide.${SERVICE}`;
const channel = await (await connect(EVAPI_AMQP_URL)).createChannel();
await channel.assertQueue(queue, { durable: true });
await channel.bindQueue(queue, "evapi.events", `${EVENT}.*`);
await channel.consume(queue, (message) => {
  JSON.parse(message.content);
  const reply = Buffer.from(JSON.stringify({ action: "allow" }));
  channel.sendToQueue(message.properties.replyTo, reply, { correlationId: message.properties.correlationId });
  channel.ack(message);
});

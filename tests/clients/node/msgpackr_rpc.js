// amqplib with msgpackr, and the time left. `number`: with the option for integers.
import { connect } from "amqplib";
import { Packr } from "msgpackr";

const { EVAPI_AMQP_URL, SERVICE, EVENT } = process.env;
const packr = {
  plain: () => new Packr(),
  maps: () => new Packr({ useRecords: false }),
  number: () => new Packr({ useRecords: false, int64AsType: "number" }),
}[process.argv[2]]();
const queue = `evapi.decide.${SERVICE}`;
const channel = await (await connect(EVAPI_AMQP_URL)).createChannel();
await channel.assertQueue(queue, { durable: true });
await channel.bindQueue(queue, "evapi.events", `${EVENT}.*`);
await channel.consume(queue, (message) => {
  const request = packr.unpack(message.content);
  if (process.argv[2] !== "plain" && request.deadline - Date.now() < 0) return;
  const { replyTo, correlationId } = message.properties;
  channel.sendToQueue(replyTo, packr.pack({ action: "allow" }), { correlationId });
  channel.ack(message);
});

// rabbitmq-client's createConsumer with `reply`.
import { Connection } from "rabbitmq-client";
import { pack } from "msgpackr";

const { EVAPI_AMQP_URL, SERVICE, EVENT } = process.env;
const decision = { action: "allow" };
const reply = {
  object: decision,
  buffer: Buffer.from(JSON.stringify(decision)),
  array: new Uint8Array(pack(decision)), // as @msgpack/msgpack's encode gives it
}[process.argv[2]];
const connection = new Connection(EVAPI_AMQP_URL);
connection.createConsumer(
  {
    queue: `evapi.decide.${SERVICE}`,
    queueOptions: { durable: true },
    queueBindings: [{ exchange: "evapi.events", routingKey: `${EVENT}.*` }],
  },
  async (message, answer) => answer(reply),
);

// RabbitMQ's tutorial 6 (RPC), with its Java client.
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DeliverCallback;

class Rpc {
    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        String[] parts = System.getenv("EVAPI_AMQP_URL").split("[:/@]+");
        factory.setHost(parts[3]);
        factory.setPort(Integer.parseInt(parts[4]));
        Channel channel = factory.newConnection().createChannel();
        String queue = "evapi.decide." + System.getenv("SERVICE");
        channel.queueDeclare(queue, true, false, false, null);
        channel.queueBind(queue, "evapi.events", System.getenv("EVENT") + ".*");
        DeliverCallback onRequest = (tag, request) -> {
            AMQP.BasicProperties reply = new AMQP.BasicProperties.Builder()
                    .correlationId(request.getProperties().getCorrelationId())
                    .build();
            byte[] decision = "{\"action\":\"allow\"}".getBytes("UTF-8");
            channel.basicPublish("", request.getProperties().getReplyTo(), reply, decision);
            channel.basicAck(request.getEnvelope().getDeliveryTag(), false);
        };
        channel.basicConsume(queue, false, onRequest, tag -> {});
    }
}

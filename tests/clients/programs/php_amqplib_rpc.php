<?php
// RabbitMQ's tutorial 6 (RPC), with php-amqplib. "object", "array": the decision by msgpack_pack.
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;

class Decision
{
    public $action = 'allow';
}

$url = parse_url(getenv('EVAPI_AMQP_URL'));
$queue = 'evapi.decide.' . getenv('SERVICE');
$channel = (new AMQPStreamConnection($url['host'], $url['port'], $url['user'], $url['pass']))->channel();
$channel->queue_declare($queue, false, true, false, false);
$channel->queue_bind($queue, 'evapi.events', getenv('EVENT') . '.*');
$replies = [
    'json' => fn () => json_encode(new Decision()),
    'object' => fn () => msgpack_pack(new Decision()),
    'array' => fn () => msgpack_pack((array) new Decision()),
];
$channel->basic_consume($queue, '', false, false, false, false, function ($request) use ($replies, $argv) {
    $reply = new AMQPMessage($replies[$argv[1]](), ['correlation_id' => $request->get('correlation_id')]);
    $request->getChannel()->basic_publish($reply, '', $request->get('reply_to'));
    $request->ack();
});
while ($channel->is_consuming()) {
    $channel->wait();
}

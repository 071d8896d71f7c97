# RabbitMQ's tutorial 6 (RPC), with bunny. "slash": the URL ends with a slash, as it does everywhere else.
require "bunny"
require "json"

url = ENV["EVAPI_AMQP_URL"]
connection = Bunny.new(ARGV[0] == "slash" ? url : url.chomp("/"))
connection.start
channel = connection.create_channel
queue = channel.queue("evapi.decide.#{ENV["SERVICE"]}", durable: true)
queue.bind("evapi.events", routing_key: "#{ENV["EVENT"]}.*")
queue.subscribe(block: true) do |_delivery, properties, payload|
  JSON.parse(payload)
  channel.default_exchange.publish(
    JSON.generate({ action: "allow" }),
    routing_key: properties.reply_to,
    correlation_id: properties.correlation_id
  )
end

// RabbitMQ's tutorial 6 (RPC), with amqp091-go. "tags": the decision's fields have names.
package main

import (
	"context"
	"encoding/json"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

type plain struct{ Action string }

type tagged struct {
	Action string `json:"action"`
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	queue := "evapi.decide." + os.Getenv("SERVICE")
	connection, err := amqp.Dial(os.Getenv("EVAPI_AMQP_URL"))
	check(err)
	channel, err := connection.Channel()
	check(err)
	_, err = channel.QueueDeclare(queue, true, false, false, false, nil)
	check(err)
	check(channel.QueueBind(queue, os.Getenv("EVENT")+".*", "evapi.events", false, nil))
	requests, err := channel.Consume(queue, "", false, false, false, false, nil)
	check(err)
	var decision interface{} = plain{"allow"}
	if os.Args[1] == "tags" {
		decision = tagged{"allow"}
	}
	for d := range requests {
		body, err := json.Marshal(decision)
		check(err)
		check(channel.PublishWithContext(context.Background(), "", d.ReplyTo, false, false, amqp.Publishing{
			ContentType: "text/plain", CorrelationId: d.CorrelationId, Body: body,
		}))
		d.Ack(false)
	}
}

"""The bridge between Kamailio's EVAPI module and RabbitMQ: ``evapi-adapter run``."""

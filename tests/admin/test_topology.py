"""What should be there and what is, compared on a real RabbitMQ; and what apply does about it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from adapter.admin.management import UNKNOWN, Management
from adapter.admin.rabbit import NoRights, Rabbit
from adapter.admin.topology import Item, State, apply, compare, drift
from adapter.amqp.topology import Binding, Exchange, Queue, bind_all, declare_queue, messages_in
from adapter.broker.rabbitmq import topology as declared
from adapter.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

SERVICE_QUEUE = Queue("evapi.decide.x", {"x-dead-letter-exchange": "evapi.dead"})
INVITES = Binding("evapi.events", "evapi.decide.x", "invite_request.*")
NAMES = {
    "evapi.events",
    "evapi.commands",
    "evapi.operator",
    "evapi.replicas",
    "evapi.services",
    "evapi.dead",
    "evapi.dead.by-node",
    "evapi.dead.kept",
    "evapi.dead-letters",
    "evapi.dead -> evapi.dead.by-node",
    "evapi.dead -> evapi.dead.kept",
    "evapi.dead.kept -> evapi.dead-letters [x-reason]",
    "evapi.dead.kept -> evapi.dead-letters [x-first-death-reason=rejected]",
    "evapi.dead.kept -> evapi.dead-letters [x-first-death-reason=maxlen]",
    "evapi.dead.kept -> evapi.dead-letters [x-first-death-reason=delivery_limit]",
    "evapi.results.sbc1",
    "evapi.commands.sbc1",
    "evapi.dead.by-node -> evapi.results.sbc1 [*.sbc1]",
    "evapi.operator -> evapi.results.sbc1 [sbc1]",
    "evapi.commands -> evapi.commands.sbc1 [sbc1]",
    "evapi.commands -> evapi.commands.sbc1 [all]",
}


class Place:
    """A vhost, as a test uses it."""

    def __init__(self, rabbit: Rabbit, management: Management, settings: Settings) -> None:
        self.rabbit = rabbit
        self.management = management
        self.settings = settings

    async def items(self, *also: str, api: bool = True, **changes: Any) -> dict[str, Item]:
        settings = self.settings.model_copy(update=changes)
        found = await compare(settings, self.rabbit, self.management if api else None, also)
        by_name = {item.name: item for item in found}
        assert len(by_name) == len(found)
        return by_name

    async def apply(self, **kwargs: Any) -> dict[str, str]:
        done = await apply(self.rabbit, (await self.items(**kwargs)).values())
        return {each.item.name: each.action for each in done}

    async def declare(self, *things: Exchange | Queue | Binding) -> None:
        for thing in things:
            if isinstance(thing, Binding):
                await self.rabbit.bind(thing)
            else:
                await self.rabbit.declare(thing)


@pytest.fixture
async def place(managed_rabbitmq: RabbitServer, vhost: str) -> AsyncIterator[Place]:
    settings = load(bridge=False, amqp_url=vhost, amqp_api=managed_rabbitmq.api, nodes="sbc1=127.0.0.1:8448")
    async with Rabbit(vhost) as rabbit, Management.of(settings) as management:
        yield Place(rabbit, management, settings)


def states(items: dict[str, Item]) -> set[State]:
    return {item.state for item in items.values()}


class TestApply:
    async def test_it_declares_what_is_missing_once(self, place: Place) -> None:
        before = await place.items()
        assert before.keys() == NAMES
        assert states(before) == {State.MISSING}
        done = await place.apply()
        assert done.keys() == NAMES
        assert {action for name, action in done.items() if "->" in name} == {"bound"}
        assert {action for name, action in done.items() if "->" not in name} == {"declared"}
        assert states(await place.items()) == {State.OK}
        assert set((await place.apply()).values()) == {"left"}

    async def test_it_is_what_the_adapter_declares(self, place: Place) -> None:
        await place.apply()
        channel = await place.rabbit._channel()
        await declared.declare_exchanges(channel)
        await declared.declare_dead_letters(channel)
        kind = declared.Kind(place.settings.results_expires)
        await declare_queue(channel, kind.results("sbc1"))
        await declare_queue(channel, kind.commands("sbc1"))
        await bind_all(channel, declared.results_bindings("sbc1", "evapi.results.sbc1"))
        await bind_all(channel, declared.commands_bindings("sbc1"))
        assert states(await place.items()) == {State.OK}

    async def test_mqtt_is_bound_where_it_is_asked_for(self, place: Place) -> None:
        await place.apply()
        by_mqtt = {"evapi.events -> amq.topic [#]", "amq.topic -> evapi.results.sbc1 [evapi.results.sbc1]"}
        missing = drift((await place.items(mqtt=True)).values())
        assert {item.name for item in missing} == by_mqtt
        assert all("evapi-adapter topology apply --mqtt makes it" in item.remark for item in missing)
        done = await place.apply(mqtt=True)
        assert {name for name, action in done.items() if action == "bound"} == by_mqtt
        assert states(await place.items(mqtt=True)) == states(await place.items()) == {State.OK}

    async def test_bindings_that_cannot_be_seen_are_made_again(self, place: Place) -> None:
        await place.apply()
        unseen = await place.items(api=False)
        assert {item.state for item in unseen.values() if item.kind == "binding"} == {State.UNKNOWN}
        assert {item.remark for item in unseen.values() if item.kind == "binding"} == {UNKNOWN}
        assert {item.state for item in unseen.values() if item.kind != "binding"} == {State.OK}
        done = await place.apply(api=False)
        assert {action for name, action in done.items() if "->" in name} == {"bound"}
        assert {action for name, action in done.items() if "->" not in name} == {"left"}

    async def test_what_is_there_otherwise_stays(self, place: Place) -> None:
        await place.declare(
            Exchange("evapi.commands", "direct"), Queue("evapi.results.sbc1", {"x-expires": 5000})
        )
        done = await place.apply()
        assert done["evapi.commands"] == done["evapi.results.sbc1"] == "left"
        after = drift((await place.items()).values())
        assert [(item.name, item.state) for item in after] == [
            ("evapi.commands", State.DIFFERS),
            ("evapi.results.sbc1", State.DIFFERS),
        ]

    async def test_it_leaves_services_to_themselves(self, place: Place) -> None:
        await place.apply()
        items = await place.items("x")
        assert items["evapi.decide.x"].state is State.MISSING
        assert [each.action for each in await apply(place.rabbit, items.values())] == ["left"] * len(items)
        assert await place.rabbit.queue("evapi.decide.x") is None


class TestWhatDiffers:
    async def test_an_exchange(self, place: Place) -> None:
        await place.declare(Exchange("evapi.commands", "direct"))
        found = (await place.items())["evapi.commands"]
        assert found.state is State.DIFFERS
        assert found.remark == (
            "its type is 'direct', not 'topic': the adapter cannot use it; delete the exchange, then apply"
        )

    @pytest.mark.parametrize("api", [True, False])
    async def test_a_queue_and_the_setting_that_made_it_so(self, place: Place, api: bool) -> None:
        await place.apply()
        found = (await place.items(api=api, results_expires=5.0))["evapi.results.sbc1"]
        assert found.state is State.DIFFERS
        assert found.remark == (
            "its x-expires is '600000', not '5000': the settings have changed. An adapter has its replies "
            "sent to evapi.results.sbc1.cf9fee23 beside it, and leaves this one to expire"
        )
        quorum = (await place.items(api=api, queue_type="quorum"))["evapi.commands.sbc1"]
        assert "x-queue-type" in quorum.remark
        assert "the adapter uses it as it is" in quorum.remark

    async def test_a_queue_of_replies_beside_one_of_other_settings(self, place: Place) -> None:
        """As an adapter declares it after EVAPI_RESULTS_EXPIRES was changed."""
        await place.apply()
        queue = declared.Kind(5.0).results("sbc1")

        async def declare(new: Queue) -> int:
            return await declare_queue(await place.rabbit._channel(), new)

        async def look(name: str) -> int | None:
            return await messages_in(await place.rabbit._channel(), name)

        beside = await declared.declare_results(place.rabbit._channel, queue, 0, declare, look)
        assert beside == declared.beside(queue).name
        items = await place.items(results_expires=5.0)
        assert items[beside].state is State.OK
        assert items[f"evapi.dead.by-node -> {beside} [*.sbc1]"].state is State.MISSING
        assert "evapi.results.sbc1" not in items
        done = await place.apply(results_expires=5.0)
        assert done[f"evapi.dead.by-node -> {beside} [*.sbc1]"] == "bound"

    async def test_the_bounds_of_the_dead_letters(self, place: Place) -> None:
        await place.declare(Queue("evapi.dead-letters", {"x-max-length": 5}))
        found = (await place.items())["evapi.dead-letters"]
        assert found.state is State.DIFFERS
        assert "the adapter uses it as it is" in found.remark

    async def test_a_binding_that_is_missing(self, place: Place) -> None:
        await place.apply()
        channel = await place.rabbit._channel()
        await channel.queue_unbind("evapi.commands.sbc1", "evapi.commands", "all")
        found = drift((await place.items()).values())
        assert [item.name for item in found] == ["evapi.commands -> evapi.commands.sbc1 [all]"]
        assert found[0].remark == "nothing gets there this way; evapi-adapter topology apply makes it"
        assert (await place.apply())[found[0].name] == "bound"
        assert drift((await place.items()).values()) == []

    async def test_of_what_is_missing_the_bindings_are_known_to_be(self, place: Place) -> None:
        items = await place.items(api=False)
        assert states(items) == {State.MISSING}
        assert await place.rabbit.queue("evapi.results.sbc1") is None

    async def test_a_user_without_rights(
        self, place: Place, managed_rabbitmq: RabbitServer, vhost: str
    ) -> None:
        await place.apply()
        user = f"reader-{secrets.token_hex(4)}"
        managed_rabbitmq.call("PUT", f"users/{user}", {"password": "hush", "tags": ""})
        grant = {"configure": "^$", "write": "^$", "read": ".*"}
        managed_rabbitmq.call("PUT", f"permissions/{vhost.rpartition('/')[2]}/{user}", grant)
        async with Rabbit(vhost.replace("guest:guest", f"{user}:hush")) as reader:
            items = await compare(place.settings, reader, None)
        managed_rabbitmq.call("DELETE", f"users/{user}")
        assert {item.state for item in items} == {State.UNKNOWN}
        assert "the user has no rights to it" in items[0].remark


class TestServices:
    async def test_as_it_should_be(self, place: Place, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite_request]\nservices = ["x"]\n')
        await place.apply()
        await place.declare(SERVICE_QUEUE, INVITES, Binding("evapi.events", "evapi.decide.x", "a.b"))
        items = await place.items(policy=policy)
        assert drift(items.values()) == []
        assert items.keys() - NAMES == {
            "evapi.decide.x",
            "evapi.events -> evapi.decide.x [invite_request.*]",
            "evapi.events -> evapi.decide.x [a.b]",
        }
        unseen = await place.items(policy=policy, api=False)
        assert unseen["evapi.events -> evapi.decide.x [invite_request.*]"].state is State.UNKNOWN

    async def test_one_that_the_policy_names_and_nobody_started(self, place: Place, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite_request]\nservices = ["x"]\n')
        await place.apply()
        found = drift((await place.items(policy=policy, api=False)).values())
        assert [(item.name, item.state, item.of) for item in found] == [
            ("evapi.decide.x", State.MISSING, "service x"),
            ("evapi.events -> evapi.decide.x [invite_request.*]", State.MISSING, "service x"),
        ]
        assert "start it" in found[0].remark

    async def test_one_that_is_not_bound_to_what_the_policy_says(self, place: Place, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.register_request]\nservices = ["x"]\n')
        await place.apply()
        await place.declare(SERVICE_QUEUE, INVITES)
        found = drift((await place.items(policy=policy)).values())
        assert [item.name for item in found] == ["evapi.events -> evapi.decide.x [register_request.*]"]
        assert found[0].remark == (
            "the policy has x decide register_request: start it with a handler of that event"
        )

    async def test_one_without_a_way_to_the_dead_letters(self, place: Place) -> None:
        await place.declare(Queue("evapi.decide.x"))
        found = (await place.items("x"))["evapi.decide.x"]
        assert found.state is State.DIFFERS
        assert "without x-dead-letter-exchange=evapi.dead" in found.remark

    async def test_one_that_may_not_be_looked_at(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """By a user without any right to it, on RabbitMQ 4.3."""
        await place.apply()
        await place.declare(SERVICE_QUEUE, INVITES)

        async def refuse(name: str) -> None:
            raise NoRights(f"queue {name}: the user has no rights to it")

        monkeypatch.setattr(place.rabbit, "queue", refuse)
        unseen = await place.items("x", api=False)
        assert (unseen["evapi.decide.x"].state, drift(unseen.values())) == (State.UNKNOWN, [])
        assert unseen["evapi.results.sbc1"].state is State.UNKNOWN
        assert (await place.items("x"))["evapi.decide.x"].state is State.OK, "the API knows it"

    async def test_one_that_nobody_names_or_consumes(self, place: Place) -> None:
        await place.apply()
        await place.declare(SERVICE_QUEUE, INVITES)
        found = drift((await place.items()).values())
        assert [(item.name, item.state) for item in found] == [("evapi.decide.x", State.STALE)]
        assert "no policy names the service, and nobody consumes" in found[0].remark


class TestOthers:
    async def test_queues_of_nodes_that_are_not_known(self, place: Place) -> None:
        await place.apply()
        await place.declare(
            Queue("evapi.results.old", {"x-expires": 60_000}), Queue("evapi.other"), Queue("unrelated")
        )
        found = drift((await place.items()).values())
        assert [(item.name, item.state) for item in found] == [
            ("evapi.other", State.STALE),
            ("evapi.results.old", State.STALE),
        ]
        assert found[0].remark.endswith("nobody consumes it: delete it")
        assert found[1].remark.endswith("nobody consumes it: RabbitMQ deletes it after 60 s")
        channel = await place.rabbit._channel()

        async def take(_: Any) -> None:
            """Nothing comes."""

        await channel.basic_consume("evapi.results.old", take)
        items = await place.items()
        assert items["evapi.results.old"].state is State.OK
        assert items["evapi.results.old"].remark == "not of EVAPI_NODES, but somebody consumes it"

    async def test_answers_to_a_question_are_no_affair_of_ours(self, place: Place) -> None:
        async with place.rabbit.listen("evapi.answers.1"):
            assert "evapi.answers.1" not in await place.items()

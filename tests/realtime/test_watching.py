"""Each connection sees each position once, in order, with nothing missing, however deliveries and joins interleave."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime.limits import EdgeLimits
from tests.realtime.watching_model import Model

CHAT = "chat/" + "a" * 24
EVENT = "event/" + "b" * 24

NAMES = st.sampled_from(["ann", "bob"])
COMMON = [
    st.tuples(st.just(name))
    for name in ("publish", "publish", "host_step", "edge_step", "task_step", "ask", "host_step")
]
STEPS = st.lists(
    st.one_of(
        *COMMON,
        *COMMON,
        st.tuples(st.just("join"), NAMES),
        st.tuples(st.just("join"), NAMES),
        st.tuples(st.just("leave"), NAMES),
        st.tuples(st.just("stale_host_step")),
        st.tuples(st.just("lose"), st.integers(0, 9)),
        st.tuples(st.just("repeat"), st.integers(0, 9)),
        st.tuples(st.just("break_link")),
        st.tuples(st.just("new_epoch")),
    ),
    min_size=20,
    max_size=100,
)


JOINED = [("join", "ann"), ("host_step",), ("edge_step",), ("task_step",)]
ANSWERED = [("ask",), ("host_step",), ("edge_step",), ("task_step",)]
MORE_THAN_IS_KEPT_COMES_DURING_A_RESUME = [
    *JOINED,
    ("break_link",),
    ("ask",),
    ("host_step",),
    *[("publish",)] * 3,
    *[("edge_step",)] * 4,
    ("task_step",),
]
MORE_THAN_IS_KEPT_COMES_DURING_A_JOIN = [
    *JOINED,
    ("join", "bob"),
    ("host_step",),
    *[("publish",)] * 3,
    *[("edge_step",)] * 4,
    ("task_step",),
]
AN_OLD_OWNER_ANSWERS_A_RESUME = [
    *JOINED,
    *[("publish",), ("edge_step",)] * 3,
    ("new_epoch",),
    *ANSWERED,
    ("publish",),
    ("break_link",),
    ("ask",),
    ("stale_host_step",),
    ("edge_step",),
    ("task_step",),
]


def run(key: str, steps: list[tuple[object, ...]], limits: EdgeLimits) -> Model:
    model = Model(key, limits)
    for name, *arguments in steps:
        getattr(model, str(name))(*arguments)
    model.settle()
    for name, client in model.clients.items():
        assert model.subscriptions.is_joined(name, key) == (name in model.joined), (name, client.trail)
        if name in model.joined:
            assert client.at == (0 if model.chat else model.epoch, model.seq), (name, client.trail, model.seq)
    for name in model.clients:
        model.subscriptions.disconnect(name)
    statistics = model.subscriptions.statistics()
    assert statistics["keys"] == statistics["connections_joined"] == statistics["deliveries_held"] == 0
    return model


@settings(max_examples=500, deadline=None)
@given(STEPS)
@example(AN_OLD_OWNER_ANSWERS_A_RESUME)
def test_a_chat_room_is_seen_once_in_order_and_whole(steps):
    run(CHAT, steps, EdgeLimits())


@settings(max_examples=500, deadline=None)
@given(STEPS)
def test_an_event_room_is_seen_once_in_order_and_whole(steps):
    run(EVENT, steps, EdgeLimits())


@settings(max_examples=500, deadline=None)
@given(STEPS, st.sampled_from([CHAT, EVENT]))
@example(MORE_THAN_IS_KEPT_COMES_DURING_A_RESUME, CHAT)
@example(MORE_THAN_IS_KEPT_COMES_DURING_A_JOIN, CHAT)
def test_the_promise_holds_when_nothing_can_be_kept_back(steps, key):
    run(key, steps, EdgeLimits(max_held_deliveries=1, max_held_deliveries_per_key=1, max_joiner_deliveries=1))

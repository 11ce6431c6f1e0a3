"""Both parsers: what one side writes the other reads, and what the protocol forbids is refused by name."""

import base64
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import Packet as StockPacket

from realtime.engine.events import JSON, MSGPACK
from realtime.engine.packets import RESERVED_EVENTS, Packet, PacketKind, ProtocolViolation, attach
from realtime.engine.wire import Wire

_LARGEST = 2**53 - 1
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-_LARGEST, _LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_keys = st.text().filter(lambda key: key != "_placeholder")


def _data(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4))


_namespaces = st.just("/") | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=",\x1e")).map(
    "/".__add__
)
_names = st.text(min_size=1).filter(lambda name: name not in RESERVED_EVENTS)
_ids = st.none() | st.integers(0, _LARGEST)


def _packets(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Packet]:
    arguments = st.lists(_data(leaves), max_size=3)
    events = st.builds(
        lambda namespace, name, args, number: Packet(PacketKind.EVENT, namespace, [name, *args], number),
        _namespaces,
        _names,
        arguments,
        _ids,
    )
    acks = st.builds(
        lambda namespace, args, number: Packet(PacketKind.ACK, namespace, args, number),
        _namespaces,
        arguments,
        st.integers(0, _LARGEST),
    )
    connects = st.builds(
        lambda namespace, auth: Packet(PacketKind.CONNECT, namespace, auth),
        _namespaces,
        st.none() | st.dictionaries(_keys, _data(_scalars), max_size=3),
    )
    disconnects = st.builds(lambda namespace: Packet(PacketKind.DISCONNECT, namespace), _namespaces)
    return events | acks | connects | disconnects


def _messages(wire: Wire) -> list[str | bytes]:
    """The Engine.IO messages of a wire, as its polling form tells them apart."""
    return [
        base64.b64decode(part[1:]) if part.startswith(b"b") else part[1:].decode()
        for part in wire.payload.split(b"\x1e")
    ]


def _read_json(messages: list[str | bytes]) -> Packet:
    packet = JSON.decode(messages[0])
    attachments = [message for message in messages[1:] if isinstance(message, bytes)]
    assert len(attachments) == packet.attachments
    return packet._replace(data=attach(packet.data, attachments) if attachments else packet.data, attachments=0)


@settings(deadline=None)
@given(_packets(_scalars | st.binary()))
def test_json_packets_survive_the_way_there_and_back(packet: Packet) -> None:
    assert _read_json(_messages(JSON.encode(packet))) == packet


@settings(deadline=None)
@given(_packets(_scalars | st.binary()))
def test_msgpack_packets_survive_the_way_there_and_back(packet: Packet) -> None:
    (message,) = _messages(MSGPACK.encode(packet))
    assert MSGPACK.decode(message) == packet


@settings(deadline=None)
@given(_packets(_scalars | st.binary()).filter(lambda packet: "?" not in packet.namespace))
def test_the_stock_parser_reads_what_ours_writes(packet: Packet) -> None:
    text, *attachments = _messages(JSON.encode(packet))
    stock = StockPacket(encoded_packet=text)
    for attachment in attachments:
        stock.add_attachment(attachment)
    assert (stock.namespace or "/", stock.data, stock.id) == (packet.namespace, packet.data, packet.id)


@settings(deadline=None)
@given(_packets(_scalars | st.binary()))
def test_ours_reads_what_the_stock_parsers_write(packet: Packet) -> None:
    fields = {"data": packet.data, "namespace": packet.namespace, "id": packet.id}
    encoded = StockPacket(int(packet.kind), **fields).encode()
    assert _read_json(encoded if isinstance(encoded, list) else [encoded]) == packet
    assert MSGPACK.decode(MsgPackPacket(int(packet.kind), **fields).encode()) == packet


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_packet_or_a_violation(text: str) -> None:
    for message in (text, "2" + text, "51-" + text, "2/a," + text):
        try:
            packet = JSON.decode(message)
        except ProtocolViolation:
            continue
        assert packet.kind <= PacketKind.ACK


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_packet_or_a_violation(data: bytes) -> None:
    try:
        packet = MSGPACK.decode(data)
    except ProtocolViolation:
        return
    assert packet.kind <= PacketKind.ACK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "abc",
        "2",
        "21",
        "2{}",
        "2[]",
        "2null",
        "2[null]",
        "2[true]",
        "2[{}]",
        '2["connect"]',
        '2["disconnecting"]',
        '2["open"',
        'abc["message-with-ack"]',
        '2/custom["no comma"]',
        '2 ["space"]x',
        "3[]",
        "31{}",
        "31",
        "0[]",
        '0"text"',
        "0null",
        "1{}",
        '4{"message":"mine"}',
        '5["none"]',
        '5-["none"]',
        '50-["none"]',
        '5x-["none"]',
        '51-["connect"]',
        "2" + "9" * 17 + '["id too long"]',
        '2٣["another alphabet\'s digit"]',
        "2" + "[" * 2000 + "]" * 2000,
    ],
)
def test_text_that_breaks_the_protocol_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        JSON.decode(text)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"type": 7, "nsp": "/"},
        {"type": True, "nsp": "/"},
        {"type": 5, "nsp": "/", "data": ["binary kinds do not exist here"]},
        {"type": 2, "data": ["no namespace"]},
        {"type": 2, "nsp": 1, "data": ["a namespace that is no string"]},
        {"type": 2, "nsp": "/"},
        {"type": 2, "nsp": "/", "data": []},
        {"type": 2, "nsp": "/", "data": ["connect"]},
        {"type": 2, "nsp": "/", "data": [float("inf")]},
        {"type": 2, "nsp": "/", "data": ["x"], "id": "1"},
        {"type": 2, "nsp": "/", "data": ["x"], "id": -1},
        {"type": 3, "nsp": "/", "data": []},
        {"type": 0, "nsp": "/", "data": []},
        {"type": 1, "nsp": "/", "data": {}},
        {"type": 4, "nsp": "/", "data": {"message": "mine"}},
        {"type": 2, "nsp": "/", "data": ["x", msgpack.ExtType(5, b"?")]},
    ],
)
def test_msgpack_that_breaks_the_protocol_is_refused(body: object) -> None:
    with pytest.raises(ProtocolViolation):
        MSGPACK.decode(msgpack.packb(body))


def test_each_parser_refuses_messages_of_the_other_kind() -> None:
    with pytest.raises(ProtocolViolation):
        JSON.decode(b'2["x"]')
    with pytest.raises(ProtocolViolation):
        MSGPACK.decode('2["x"]')


@pytest.mark.parametrize(
    "placeholder",
    [{"_placeholder": True}, {"_placeholder": True, "num": 1}, {"_placeholder": True, "num": -1},
     {"_placeholder": True, "num": "0"}, {"_placeholder": True, "num": True}],
)  # fmt: skip
def test_a_placeholder_must_name_an_attachment(placeholder: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        attach(["x", placeholder], [b"only one"])


def test_placeholders_nested_too_deeply_are_refused() -> None:
    data: list[Any] = []
    for _ in range(900):
        data = [data]
    with pytest.raises(ProtocolViolation):
        attach(data, [b""])


def test_half_an_emoji_becomes_the_replacement_character() -> None:
    text = r'2["m","a\ud83d","\ude00b","\ud83d\ude00","\\ud83d",1]'
    assert JSON.decode(text).data == ["m", "a\ufffd", "\ufffdb", "\U0001f600", "\\ud83d", 1]


def test_mending_is_only_for_short_texts() -> None:
    with pytest.raises(ProtocolViolation):
        JSON.decode(r'2["m","\ud83d","' + "x" * 20_000 + '"]')


def test_extensions_of_the_javascript_parser() -> None:
    undefined, date, buffer = (msgpack.ExtType(0, data) for data in (b"\0", (1_700_000_000_123).to_bytes(8), b"abc"))
    body = {"type": 2, "nsp": "/", "data": ["x", undefined, date, buffer], "options": {"compress": True}}
    assert MSGPACK.decode(msgpack.packb(body)).data == ["x", None, "2023-11-14T22:13:20.123Z", b"abc"]
    far = {"type": 2, "nsp": "/", "data": ["x", msgpack.ExtType(0, b"\x7f" + b"\xff" * 7)]}
    with pytest.raises(ProtocolViolation):
        MSGPACK.decode(msgpack.packb(far))


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_data_without_a_form_is_a_type_error(codec: Any) -> None:
    with pytest.raises(TypeError):
        codec.encode(Packet(PacketKind.EVENT, "/", ["x", object()]))
    with pytest.raises(TypeError):
        codec.encode(Packet(PacketKind.EVENT, "/", ["x", 2**70]))

"""How each kind of key becomes active: what is checked before it is claimed, and which machine is built from the head.

Called by the loader. The claim is the fence: once it returns, no older owner of the key can commit unnoticed. A session
has no fence and is claimed by nobody (session_loads.py).
"""

from actors.chat_room import ChatRoom
from actors.effects import Machine
from actors.event_room import EventRoom
from actors.limits import RoomLimits
from actors.ports import HostPorts
from actors.topic import Topic
from cluster.kernel.errors import EVENT_NOT_FOUND, INVALID_REQUEST, NOT_A_MEMBER, FlowError
from cluster.kernel.ids import Key, KeyKind, RoomKind, is_id, parse_room


def check_key(key: Key, user: str) -> None:
    """Raises FlowError when no such key can exist, or when this person may not even wake it. Costs no I/O."""
    if key.kind is KeyKind.CHAT:
        room = parse_room(key.id)
        if room.id != key.id:
            raise FlowError(INVALID_REQUEST, "The people of a direct room must be in order.", fields=("key",))
        if room.people is not None and user and user not in room.people:
            raise FlowError(NOT_A_MEMBER)
    elif key.kind is not KeyKind.TOPIC and not is_id(key.id):
        raise FlowError(INVALID_REQUEST, "The key must name an id.", fields=("key",))


async def claim(key: Key, ports: HostPorts, limits: RoomLimits) -> Machine:
    """Raises FlowError: the thing does not exist, or UNAVAILABLE. ValueError for a session, which is not claimed."""
    match key.kind:
        case KeyKind.CHAT:
            room = parse_room(key.id)
            if room.event_id is not None and await ports.events.terms(room.event_id) is None:
                raise FlowError(EVENT_NOT_FOUND)
            create = room.kind is not RoomKind.GROUP
            head = await ports.chat_log.claim(room.id, room.kind, limits.load_window_messages, create=create)
            return ChatRoom(room, head, limits)
        case KeyKind.EVENT:
            return EventRoom(await ports.rsvps.claim(key.id), limits)
        case KeyKind.USER:
            raise ValueError("sessions are read by the batch")
        case KeyKind.TOPIC:
            return Topic(str(key))

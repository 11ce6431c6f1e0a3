"""What a notification says: pure functions from a cause to title, body and data. The data keys are the clients' own."""

from typing import NamedTuple

from cluster.kernel.ids import RoomKind, parse_room
from storage.records import Message, Rsvp


class Text(NamedTuple):
    type: str
    title: str
    body: str
    data: dict[str, str]
    collapse_key: str


def chat_message(message: Message, sender_name: str, place_name: str) -> Text:
    """A message to someone who is away. `place_name` is the room's or the event's name; empty between two people."""
    room = parse_room(message.room_id)
    data = {"type": "chat_message", "roomId": message.room_id, "seq": str(message.seq), "messageId": message.id}
    if room.event_id is not None:
        data["eventId"] = room.event_id
    title = sender_name if room.kind is RoomKind.DIRECT or not place_name else f"{sender_name} in {place_name}"
    return Text("chat_message", title, message.text, data, f"room:{message.room_id}")


def rsvp_for_organizer(rsvp: Rsvp, person_name: str, event_title: str) -> Text:
    data = {"type": "event_rsvp", "eventId": rsvp.event_id, "userId": rsvp.user_id, "status": rsvp.status}
    return Text("event_rsvp", event_title, f"{person_name} is going.", data, f"event:{rsvp.event_id}")


def promoted(rsvp: Rsvp, event_title: str) -> Text:
    data = {"type": "event_promoted", "eventId": rsvp.event_id, "status": rsvp.status}
    return Text(
        "event_promoted", event_title, "A place has become free: you are going.", data, f"event:{rsvp.event_id}"
    )

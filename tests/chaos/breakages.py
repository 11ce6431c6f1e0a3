"""Ways to break one promise in a correct story, each at a place that a chooser picks, and the kind that must be found.

The checker's tests apply them. A breakage that finds nothing to break in a story says so to Hypothesis by `assume`.
"""

import random
from collections.abc import Callable
from itertools import pairwise

import msgspec
from hypothesis import assume

from tests.chaos.records import (
    Answered,
    Asked,
    Client,
    Connected,
    Counted,
    Delivered,
    Finished,
    Seen,
    StoredRsvp,
)
from tests.chaos.simulated import EVENT, Story

Breakage = Callable[[Story, random.Random], None]
change = msgspec.structs.replace


def pick(choice: random.Random, candidates: list) -> tuple:
    assume(candidates)
    return choice.choice(candidates)


def deliveries(story: Story) -> list[tuple[Client, int, Delivered]]:
    return [
        (client, index, record)
        for client, records in story.records.items()
        for index, record in enumerate(records)
        if isinstance(record, Delivered)
    ]


def next_delivery(story: Story, client: Client, index: int) -> int | None:
    """The next one of the same room with no join or connection between."""
    room = story.records[client][index].room
    for later in range(index + 1, len(story.records[client])):
        record = story.records[client][later]
        if isinstance(record, Connected) or (isinstance(record, Asked) and record.kind == "join"):
            return None
        if isinstance(record, Delivered) and record.room == room:
            return later
    return None


def acked_sends(story: Story) -> list[tuple[Client, Asked, int, Answered]]:
    """Who sent, the first attempt, where the ack stands and the ack."""
    found = []
    for client, records in story.records.items():
        asked = {
            record.operation: record
            for record in reversed(records)
            if isinstance(record, Asked) and record.kind == "send"
        }
        found += [
            (client, asked[record.operation], index, record)
            for index, record in enumerate(records)
            if isinstance(record, Answered) and record.operation in asked
        ]
    return found


def an_acked_message_is_not_stored(story: Story, choice: random.Random) -> None:
    _, _, _, answer = pick(choice, acked_sends(story))
    story.messages = [message for message in story.messages if message.id != answer.id]


def the_last_delivery_never_came(story: Story, choice: random.Random) -> None:
    last = [
        (client, index)
        for client, index, record in deliveries(story)
        if not any(
            (isinstance(later, Delivered) and later.room == record.room)
            or isinstance(later, Connected)
            or (isinstance(later, Asked) and later.kind == "join" and later.place == record.room)
            for later in story.records[client][index + 1 :]
        )
    ]
    client, index = pick(choice, last)
    del story.records[client][index]


def a_message_was_shown_that_is_not_stored(story: Story, choice: random.Random) -> None:
    client, index, record = pick(choice, deliveries(story))
    story.records[client][index] = change(record, message=change(record.message, id="of nobody"))


def a_message_was_shown_with_another_text(story: Story, choice: random.Random) -> None:
    client, index, record = pick(choice, deliveries(story))
    story.records[client][index] = change(record, message=change(record.message, text="another"))


def a_delivery_came_twice(story: Story, choice: random.Random) -> None:
    client, index, record = pick(choice, deliveries(story))
    later = next_delivery(story, client, index)
    story.records[client].insert(choice.choice([index + 1, (later or index) + 1]), record)


def what_the_join_held_came_again(story: Story, choice: random.Random) -> None:
    joins = [
        (client, index, record.messages[-1], asked.place)
        for client, records in story.records.items()
        for index, (asked, record) in enumerate(pairwise(records))
        if isinstance(asked, Asked) and asked.kind == "join" and isinstance(record, Answered) and record.messages
    ]
    client, index, message, room = pick(choice, joins)
    again = Delivered(at=story.records[client][index + 1].at, connection=1, room=room, message=message)
    story.records[client].insert(index + 2, again)


def a_message_is_stored_twice(story: Story, choice: random.Random) -> None:
    assume(story.messages)
    story.messages.append(choice.choice(story.messages))


def two_deliveries_changed_places(story: Story, choice: random.Random) -> None:
    pairs = [
        (client, index, later)
        for client, index, _ in deliveries(story)
        if (later := next_delivery(story, client, index)) is not None
    ]
    client, index, later = pick(choice, pairs)
    records = story.records[client]
    records[index], records[later] = records[later], records[index]


def a_page_came_in_another_order(story: Story, choice: random.Random) -> None:
    pages = [
        (client, index, record)
        for client, records in story.records.items()
        for index, record in enumerate(records)
        if isinstance(record, Answered) and len(record.messages) > 1
    ]
    client, index, record = pick(choice, pages)
    story.records[client][index] = change(record, messages=record.messages[::-1])


def a_message_sent_after_an_ack_was_numbered_before_it(story: Story, choice: random.Random) -> None:
    sends = acked_sends(story)
    pairs = [
        (client, asked, later)
        for client, asked, _, answer in sends
        for _, other, _, later in sends
        if asked.place == other.place and answer.seq < later.seq
    ]
    client, asked, later = pick(choice, pairs)
    index = story.records[client].index(asked)
    story.records[client][index] = change(asked, at=later.at + 1_000)


def a_delivery_is_missing_in_the_middle(story: Story, choice: random.Random) -> None:
    inner = [
        (client, index) for client, index, _ in deliveries(story) if next_delivery(story, client, index) is not None
    ]
    client, index = pick(choice, inner)
    del story.records[client][index]


def recovered_joins(story: Story) -> list[tuple[Client, int, Asked, Answered]]:
    return [
        (client, index, asked, record)
        for client, records in story.records.items()
        for index, (asked, record) in enumerate(pairwise(records))
        if isinstance(asked, Asked) and asked.kind == "join" and isinstance(record, Answered) and record.recovered
    ]


def a_recovered_join_left_one_out(story: Story, choice: random.Random) -> None:
    joins = [join for join in recovered_joins(story) if join[3].messages]
    client, index, _, record = pick(choice, joins)
    left_out = choice.randrange(len(record.messages))
    kept = record.messages[:left_out] + record.messages[left_out + 1 :]
    story.records[client][index + 1] = change(record, messages=kept)


def a_seq_was_never_given(story: Story, choice: random.Random) -> None:
    """All are numbered one higher from some point on, wherever they are told of."""
    room = choice.choice(story.rooms)
    seqs = [message.seq for message in story.messages if message.room == room]
    assume(len(seqs) > 1)
    at = choice.randrange(2, max(seqs) + 1)
    story.messages = [
        change(message, seq=message.seq + 1) if message.room == room and message.seq >= at else message
        for message in story.messages
    ]
    for client, records in story.records.items():
        places = {record.operation: record.place for record in records if isinstance(record, Asked)}
        story.records[client] = [_renumbered(record, room, at, places) for record in records]


def _renumbered(record, room: str, at: int, places: dict[int, str]):
    def higher(message: Seen) -> Seen:
        return change(message, seq=message.seq + 1) if message.seq >= at else message

    if isinstance(record, Delivered) and record.room == room:
        return change(record, message=higher(record.message))
    if isinstance(record, Answered) and places.get(record.operation) == room:
        seq = record.seq + (record.seq >= at)
        return change(record, seq=seq, messages=tuple(map(higher, record.messages)))
    if isinstance(record, Asked) and record.place == room and record.since is not None:
        return change(record, since=record.since + (record.since >= at))
    return record


def a_join_showed_less_than_was_known(story: Story, choice: random.Random) -> None:
    joins = [join for join in recovered_joins(story) if join[2].since and join[2].since > 1]
    client, index, asked, _ = pick(choice, joins)
    [older] = [message for message in story.messages if (message.room, message.seq) == (asked.place, asked.since - 1)]
    page = (Seen(older.seq, older.id, older.key, older.epoch, older.user, older.text),)
    question = change(asked, operation=9_999)
    answer = Answered(at=asked.at, operation=9_999, attempt=1, seq=older.seq, epoch=older.epoch, messages=page)
    story.records[client][index:index] = [question, answer]


def a_room_was_told_before_it_was_joined(story: Story, choice: random.Random) -> None:
    connects = [
        (client, index)
        for client, records in story.records.items()
        for index, record in enumerate(records)
        if isinstance(record, Connected) and not record.recovered
    ]
    client, index = pick(choice, connects)
    _, _, record = pick(choice, deliveries(story))
    story.records[client].insert(index + 1, record)


def the_second_ack_differs(story: Story, choice: random.Random) -> None:
    client, _, index, answer = pick(choice, acked_sends(story))
    other = change(answer, **choice.choice([{"seq": answer.seq + 1}, {"id": "other"}, {"ts": answer.ts + 1}]))
    story.records[client].insert(index + 1, other)


def an_ack_names_another_place(story: Story, choice: random.Random) -> None:
    client, _, _, answer = pick(choice, acked_sends(story))
    story.records[client] = [
        change(record, epoch=record.epoch + 1)
        if isinstance(record, Answered) and record.operation == answer.operation
        else record
        for record in story.records[client]
    ]


def an_older_epoch_was_stored_after_a_newer(story: Story, choice: random.Random) -> None:
    later = [message for message in story.messages if message.seq > 1]
    assume(later)
    message = choice.choice(later)
    older = change(message, epoch=-1)
    story.messages[story.messages.index(message)] = older

    def aged(record):
        if isinstance(record, Delivered) and record.message.id == message.id:
            return change(record, message=change(record.message, epoch=-1))
        if isinstance(record, Answered):
            shown = tuple(change(one, epoch=-1) if one.id == message.id else one for one in record.messages)
            epoch = -1 if record.id == message.id else record.epoch
            return change(record, messages=shown, epoch=epoch)
        return record

    story.records = {client: list(map(aged, records)) for client, records in story.records.items()}


def one_more_is_going_than_there_are_places(story: Story, choice: random.Random) -> None:
    for extra in range(story.capacity[EVENT] + 1):
        story.rsvps.append(StoredRsvp(event=EVENT, user=f"extra-{extra}", status="going"))


def a_seat_was_given_twice(story: Story, choice: random.Random) -> None:
    story.capacity[EVENT] = 1_000
    story.rsvps = [row for row in story.rsvps if row.status != "waiting"]
    for client, records in story.records.items():
        asked = {record.operation for record in records if isinstance(record, Asked) and record.kind == "rsvp"}
        story.records[client] = [record for record in records if getattr(record, "operation", 0) not in asked]
    story.rsvps += [StoredRsvp(event=EVENT, user=f"extra-{n}", status="going", seat=7) for n in range(2)]


def somebody_was_told_of_more_than_there_are_places(story: Story, choice: random.Random) -> None:
    client = choice.choice(list(story.records))
    story.records[client].insert(0, Counted(at=0.0, event=EVENT, attending=story.capacity[EVENT] + 1))


def more_were_told_that_they_go_than_there_are_places(story: Story, choice: random.Random) -> None:
    """The answers alone show it: nothing is stored of it and nobody was told a number."""
    late = max(record.at for records in story.records.values() for record in records) + 1
    story.rooms = ()
    for number in range(2):
        asked = Asked(at=late, operation=1, attempt=1, kind="rsvp", place="event-1", status="going")
        answer = Answered(at=late + 1, operation=1, attempt=1, status="going")
        gone = Asked(at=late + 2, operation=2, attempt=1, kind="rsvp", place="event-1", status="declined")
        left = Answered(at=late + 3, operation=2, attempt=1, status="declined")
        story.records[Client(f"new-{number}", f"new-{number}")] = [asked, answer, gone, left]
        story.rsvps.append(StoredRsvp(event="event-1", user=f"new-{number}", status="declined"))
    story.capacity["event-1"] = 1


def a_place_is_free_while_somebody_waits(story: Story, choice: random.Random) -> None:
    assume(any(row.status == "waiting" for row in story.rsvps))
    story.capacity[EVENT] += 1


def one_who_came_later_was_taken_first(story: Story, choice: random.Random) -> None:
    """Two newcomers wait, one after the other, and the later one has the place."""
    story.capacity[EVENT] = 1
    story.rsvps = [StoredRsvp(event=EVENT, user="late", status="going", seat=1)]
    story.rsvps.append(StoredRsvp(event=EVENT, user="early", status="waiting", place=1))
    for client, records in story.records.items():
        asked = {record.operation for record in records if isinstance(record, Asked) and record.kind == "rsvp"}
        kept = [record for record in records if getattr(record, "operation", 0) not in asked]
        story.records[client] = [record for record in kept if not isinstance(record, Counted)]
    finished = Finished(at=9e9, is_connected=True, joined=())
    story.rooms = ()
    for number, user in enumerate(("early", "late")):
        at = 1e6 * (number + 1)
        question = Asked(at=at, operation=1, attempt=1, kind="rsvp", place=EVENT, status="going")
        answer = Answered(at=at + 1, operation=1, attempt=1, status="waiting")
        story.records[Client(user, user)] = [question, answer, finished]


def an_acked_answer_is_not_stored(story: Story, choice: random.Random) -> None:
    plain = [row for row in story.rsvps if row.status in ("declined", "interested")]
    asked = {
        client.user
        for client, records in story.records.items()
        if _is_plain(records) and any(isinstance(record, Asked) and record.kind == "rsvp" for record in records)
    }
    gone = pick(choice, [(row,) for row in plain if row.user in asked])[0]
    story.rsvps.remove(gone)


def _is_plain(records) -> bool:
    asked = {record.operation for record in records if isinstance(record, Asked) and record.kind == "rsvp"}
    answered = {record.operation for record in records if isinstance(record, Answered)}
    return asked <= answered


def a_right_request_was_refused_for_good(story: Story, choice: random.Random) -> None:
    client, _, index, answer = pick(choice, acked_sends(story))
    refusal = Answered(at=answer.at, operation=answer.operation, attempt=3, code="internal")
    story.records[client].insert(index + 1, refusal)


def a_client_never_came_back(story: Story, choice: random.Random) -> None:
    client = choice.choice(list(story.records))
    end = story.records[client].pop()
    if choice.random() < 0.5:
        story.records[client].append(change(end, is_connected=False))


BREAKAGES: list[tuple[str, Breakage]] = [
    ("lost", an_acked_message_is_not_stored),
    ("lost", the_last_delivery_never_came),
    ("phantom", a_message_was_shown_that_is_not_stored),
    ("phantom", a_message_was_shown_with_another_text),
    ("repeated", a_delivery_came_twice),
    ("repeated", what_the_join_held_came_again),
    ("repeated", a_message_is_stored_twice),
    ("reordered", two_deliveries_changed_places),
    ("reordered", a_page_came_in_another_order),
    ("reordered", a_message_sent_after_an_ack_was_numbered_before_it),
    ("gaps", a_delivery_is_missing_in_the_middle),
    ("gaps", a_recovered_join_left_one_out),
    ("gaps", a_seq_was_never_given),
    ("stale", a_join_showed_less_than_was_known),
    ("unasked", a_room_was_told_before_it_was_joined),
    ("wrong_answer", the_second_ack_differs),
    ("wrong_answer", an_ack_names_another_place),
    ("fence", an_older_epoch_was_stored_after_a_newer),
    ("oversold", one_more_is_going_than_there_are_places),
    ("oversold", a_seat_was_given_twice),
    ("oversold", somebody_was_told_of_more_than_there_are_places),
    ("oversold", more_were_told_that_they_go_than_there_are_places),
    ("waitlist", a_place_is_free_while_somebody_waits),
    ("waitlist", one_who_came_later_was_taken_first),
    ("rsvp_lost", an_acked_answer_is_not_stored),
    ("refused", a_right_request_was_refused_for_good),
    ("stranded", a_client_never_came_back),
]

"""Ids are unique, of one form, and a forked process makes others than its parent."""

import os
import threading

from cluster.kernel.ids import chat_key, is_id, new_id, topic_key

_MANY = 1_000


def test_ids_are_of_one_form_and_never_the_same():
    made = [new_id() for _ in range(_MANY)]
    assert all(map(is_id, made))
    assert len({each[8:] for each in made}) == _MANY
    assert [each[:8] for each in made] == sorted(each[:8] for each in made)


def test_threads_make_no_id_twice():
    made: list[list[str]] = [[] for _ in range(4)]

    def make(mine: list[str]) -> None:
        mine.extend(new_id()[8:] for _ in range(_MANY))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for mine in made for each in mine}) == len(made) * _MANY


def test_a_forked_process_makes_other_ids():
    _ = new_id()  # there is randomness left that the child must not use
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id()[8:].encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 16
    assert theirs not in {new_id()[8:] for _ in range(_MANY)}


def test_keys_are_found_by_what_they_say():
    known = {chat_key("a" * 24): 1, topic_key("a" * 24): 2}
    assert [known[chat_key("a" * 24)], known[topic_key("a" * 24)]] == [1, 2]

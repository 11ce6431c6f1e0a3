"""Features: stable across processes, equal names meet, nothing overflows its row."""

from hypothesis import given
from hypothesis import strategies as st

from serve_apps.contracts import CatalogueEvent, ModelPerson
from serve_apps.features import BUCKETS, TOPICS, WORDS, bucket, content_digests, event_features, people_features


def event_of(**changes: object) -> CatalogueEvent:
    settings: dict[str, object] = {
        "event_id": "e",
        "title": "",
        "category": "",
        "tags": (),
        "coordinates": None,
        "start_ms": 0,
        "end_ms": 1,
    } | changes
    return CatalogueEvent(**settings)  # type: ignore[arg-type]


def test_buckets_never_change() -> None:
    """A stored model relies on these numbers: a change of them needs a new FEATURE_VERSION."""
    assert [bucket(token) for token in ("python", "jazz", "cell:8.0:1:6")] == [3094, 1890, 3415]


def test_an_interest_and_a_tag_and_a_word_of_the_same_name_meet() -> None:
    person = people_features([ModelPerson(user_id="u", interests=("  Machine   LEARNING ", "Jazz"))])
    event = event_features([event_of(title="The jazz of it", category="Music", tags=("machine learning",))])
    interests, topics = set(person.topics[0]) - {0}, set(event.topics[0]) - {0}
    assert {bucket("machine learning"), bucket("machine"), bucket("learning")} <= interests & topics
    assert bucket("jazz") in interests & set(event.words[0])
    assert bucket("the") not in event.words[0]


def cells(place: tuple[float, float] | None) -> set[int]:
    return set(event_features([event_of(coordinates=place)]).places[0].tolist())


def test_near_places_share_cells_and_far_ones_do_not() -> None:
    munich, next_to_it, sydney = (11.5, 48.1), (11.6, 48.2), (151.2, -33.9)
    assert cells(munich) == cells(next_to_it)
    assert not cells(munich) & cells(sydney)
    assert cells(None) == {0}


text = st.text(max_size=40)
coordinate = st.floats(-180, 180)
any_event = st.builds(
    event_of,
    title=text,
    category=text,
    tags=st.lists(text, max_size=60).map(tuple),
    coordinates=st.none() | st.tuples(coordinate, coordinate),
)


@given(st.lists(any_event, max_size=4))
def test_any_event_fits_its_row(events: list[CatalogueEvent]) -> None:
    features = event_features(events)
    assert features.topics.shape == (len(events), TOPICS)
    assert features.words.shape == (len(events), WORDS)
    for column in features[1:]:
        assert ((column >= 0) & (column < BUCKETS)).all()


def test_a_digest_changes_with_the_content_alone() -> None:
    one, later, two = event_of(title="one"), event_of(title="one", end_ms=9, event_id="f"), event_of(title="two")
    tagged = event_of(tags=("one",))
    digests = content_digests(event_features([one, later, two, tagged])).tolist()
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3

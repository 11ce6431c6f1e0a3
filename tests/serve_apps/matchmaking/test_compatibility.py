"""The compatibility of two people: bounded, symmetric, and never worse for one more thing in common."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.kernel.errors import INVALID_REQUEST, FlowError
from serve_apps.contracts import Match, MatchPerson, MatchRequest
from serve_apps.guarded import Guarded
from serve_apps.matchmaking.compatibility import CompatibilityMatcher, MatchWeights, compatibility
from serve_apps.matchmaking.matching import Matching

names = st.lists(st.sampled_from(["jazz", "Jazz", "hiking", "python", "chess", "film"]), max_size=5).map(tuple)
people = st.builds(
    MatchPerson,
    user_id=st.text("abc", min_size=1, max_size=3),
    interests=names,
    traits=names,
    coordinates=st.none() | st.tuples(st.floats(-180, 180), st.floats(-90, 90)),
    activity=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    mutual_friends=st.none() | st.integers(0, 30),
)
weights = (
    st.lists(st.integers(0, 10), min_size=5, max_size=5)
    .filter(any)
    .map(
        lambda parts: MatchWeights(
            **{name: part / sum(parts) for name, part in zip(MatchWeights.model_fields, parts, strict=True)}
        )
    )
)
BERLIN, POTSDAM = (13.405, 52.52), (13.06, 52.4)


@given(people, people, weights)
def test_a_score_is_bounded_symmetric_and_the_sum_of_its_parts(
    one: MatchPerson, two: MatchPerson, by: MatchWeights
) -> None:
    there, back = compatibility(one, two, by), compatibility(two, one, by)
    assert 0.0 <= there.score <= 1.0
    assert there.score == back.score
    assert there.parts == back.parts
    told = sum(part.weight * part.similarity for part in there.parts if part.similarity is not None)
    assert there.score == pytest.approx(min(1.0, told))


@given(people, people)
def test_one_more_thing_in_common_never_hurts(one: MatchPerson, two: MatchPerson) -> None:
    by = MatchWeights()
    shared = [
        msgspec.structs.replace(person, interests=(*person.interests, "sailing"), traits=(*person.traits, "calm"))
        for person in (one, two)
    ]
    assert compatibility(*shared, by).score >= compatibility(one, two, by).score - 1e-12


@given(people, people, st.integers(0, 20))
def test_more_mutual_friends_never_hurt(one: MatchPerson, two: MatchPerson, friends: int) -> None:
    by = MatchWeights()
    fewer, more = (msgspec.structs.replace(two, mutual_friends=count) for count in (friends, friends + 1))
    assert compatibility(one, more, by).score >= compatibility(one, fewer, by).score


def test_the_same_person_scores_one_and_a_stranger_nothing() -> None:
    one = MatchPerson(
        user_id="a", interests=("jazz",), traits=("calm",), coordinates=BERLIN, activity=5.0, mutual_friends=10
    )
    assert compatibility(one, one, MatchWeights()).score == pytest.approx(1.0)
    nobody = compatibility(one, MatchPerson(user_id="b"), MatchWeights())
    assert nobody.score == pytest.approx(0.10), "what they share of friends is told by one of them"
    assert [part.similarity for part in nobody.parts[:4]] == [None] * 4


def test_the_seed_s_parts_by_hand() -> None:
    one = MatchPerson(
        user_id="a", interests=("a", "b"), traits=("x",), coordinates=BERLIN, activity=8, mutual_friends=3
    )
    two = MatchPerson(
        user_id="b", interests=("b", "c"), traits=("y",), coordinates=POTSDAM, activity=3, mutual_friends=3
    )
    found = {part.name: part.similarity for part in compatibility(one, two, MatchWeights()).parts}
    assert found["interests"] == pytest.approx(1 / 3)
    assert found["traits"] == 0.0
    assert found["distance"] == pytest.approx(1 - 26.9 / 50, abs=0.01)
    assert found["activity"] == pytest.approx(0.5)
    assert found["mutual_friends"] == pytest.approx(0.3)


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"add up to 1\.05"):
        MatchWeights(interests=0.35)


class _Matcher:
    """Answers with what the test says, or raises it."""

    name = "learned"

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def match(self, person: MatchPerson, others: object) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def request(**changes: object) -> MatchRequest:
    others = tuple(MatchPerson(user_id=name, interests=("jazz",)) for name in "bca")
    person = MatchPerson(user_id="me", interests=("jazz", "film"))
    return msgspec.structs.replace(MatchRequest(person=person, others=others, limit=2), **changes)


GOOD = [Match(user_id="b", score=0.1), Match(user_id="c", score=0.9), Match(user_id="a", score=0.1)]


def test_a_learned_matcher_takes_the_formula_s_place() -> None:
    answer = Matching(CompatibilityMatcher(), _Matcher(GOOD), Guarded()).answer(request())
    assert [match.user_id for match in answer.matches] == ["c", "a"]
    assert (answer.matcher, answer.fallback) == ("learned", False)


@pytest.mark.parametrize(
    "wrong",
    [
        ValueError("no"),
        GOOD[:2],
        GOOD[::-1],
        None,
        [msgspec.structs.replace(one, score=float("nan")) for one in GOOD],
        [msgspec.structs.replace(one, score=1.5) for one in GOOD],
    ],
)
def test_one_that_fails_is_replaced_by_the_formula_and_the_answer_marked(wrong: object) -> None:
    answer = Matching(CompatibilityMatcher(), _Matcher(wrong), Guarded()).answer(request())
    assert [match.user_id for match in answer.matches] == ["a", "b"]
    assert (answer.matcher, answer.fallback) == ("compatibility", True)


@pytest.mark.parametrize("changes", [{"limit": 0}, {"limit": 101}, {"others": (MatchPerson(user_id="x"),) * 501}])
def test_bad_requests_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FlowError) as refused:
        Matching(CompatibilityMatcher(), None, Guarded()).answer(request(**changes))
    assert refused.value.kind is INVALID_REQUEST


def test_nobody_to_meet_is_an_empty_answer() -> None:
    assert Matching(CompatibilityMatcher(), None, Guarded()).answer(request(others=())).matches == ()

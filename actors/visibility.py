"""Who may see an event, and who may go: pure rules that the event's own room and its chat room share."""

from collections.abc import Mapping, Sequence
from typing import Any

from actors.facts import Fact, Facts, Invited, OwnRsvp, Person
from cluster.kernel.errors import REQUIREMENTS_NOT_MET, FlowError

PUBLIC = "public"


def facts_to_see(visibility: str, organizer_id: str, event_id: str, user_id: str, facts: Facts) -> Sequence[Fact]:
    """Facts that `may_see` still needs."""
    if visibility == PUBLIC or user_id == organizer_id:
        return ()
    needs = (OwnRsvp(event_id, user_id), Invited(event_id, user_id))
    return tuple(fact for fact in needs if fact not in facts)


def may_see(visibility: str, organizer_id: str, event_id: str, user_id: str, facts: Facts) -> bool:
    """Public events are everyone's; others are for the organizer, those invited, and those who have answered."""
    if visibility == PUBLIC or user_id == organizer_id:
        return True
    return bool(facts.get(Invited(event_id, user_id))) or facts.get(OwnRsvp(event_id, user_id)) is not None


def facts_to_go(
    requirements: Mapping[str, Any], organizer_id: str, event_id: str, user_id: str, facts: Facts
) -> Sequence[Fact]:
    """Facts that `check_requirements` still needs."""
    if user_id == organizer_id:
        return ()
    needs: list[Fact] = []
    if requirements.get("minPoints") or requirements.get("minRating"):
        needs.append(Person(user_id))
    if requirements.get("inviteOnly"):
        needs.append(Invited(event_id, user_id))
    return tuple(fact for fact in needs if fact not in facts)


def check_requirements(
    requirements: Mapping[str, Any], organizer_id: str, event_id: str, user_id: str, facts: Facts
) -> None:
    """Raises FlowError REQUIREMENTS_NOT_MET with what is missing."""
    if user_id == organizer_id:
        return
    person = facts.get(Person(user_id))
    points = requirements.get("minPoints") or 0
    if points and (person is None or person.points < points):
        raise FlowError(REQUIREMENTS_NOT_MET, f"This event asks for {points} points.")
    rating = requirements.get("minRating") or 0
    if rating and (person is None or person.rating < rating):
        raise FlowError(REQUIREMENTS_NOT_MET, f"This event asks for a rating of {rating}.")
    if requirements.get("inviteOnly") and not facts.get(Invited(event_id, user_id)):
        raise FlowError(REQUIREMENTS_NOT_MET, "This event is for those who were invited.")

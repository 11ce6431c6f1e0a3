"""Driving a pure machine without a host: facts come from a dictionary-like model, rows go straight into it."""

from collections.abc import Callable
from typing import Any

from actors.effects import Effects, Envelope, Machine
from actors.facts import Fact


def decide(machine: Machine, envelope: Envelope, find: Callable[[Fact], Any]) -> Effects:
    """Ask for facts until the machine has enough, then decide. Raises the machine's FlowError."""
    facts: dict[Fact, Any] = {}
    for _ in range(10):
        needs = machine.facts_needed(envelope, facts)
        if not needs:
            return machine.decide(envelope, facts)
        for fact in needs:
            assert fact not in facts, f"{fact} is asked for twice"
            facts[fact] = find(fact)
    raise AssertionError("the machine never has enough facts")

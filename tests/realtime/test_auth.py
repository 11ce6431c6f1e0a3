"""Access tokens and passwords."""

import asyncio
import base64
import hmac
import json

import jwt
import pytest
from argon2.profiles import CHEAPEST, PRE_21_2

from cluster.kernel.clock import ManualClock
from cluster.kernel.errors import OVERLOADED, TOKEN_EXPIRED, UNAUTHENTICATED, FlowError
from cluster.kernel.ids import new_id
from realtime.auth import TokenService, TokenSettings
from realtime.passwords import PasswordService

OLD, NEW, OTHER = "o" * 32, "n" * 32, "x" * 32
USER = new_id()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def refusal(service: TokenService, token: object) -> object:
    with pytest.raises(FlowError) as caught:
        service.verify(token)
    return caught.value.kind


def test_a_token_says_who_and_until_when(clock):
    service = TokenService(TokenSettings(NEW), clock)
    token, expires_at_ms = service.issue(USER, "ann", "session")
    identity = service.verify(token)
    assert (identity.user_id, identity.username, identity.session_id) == (USER, "ann", "session")
    assert identity.expires_at_ms == expires_at_ms == clock.now_ms() + 900_000


def test_it_ends_by_the_clock_that_was_given(clock):
    service = TokenService(TokenSettings(NEW, lifetime_s=10), clock)
    token, _ = service.issue(USER, "ann", "session")
    clock.advance(9.9)
    service.verify(token)
    clock.advance(0.2)
    assert refusal(service, token) is TOKEN_EXPIRED


def test_a_rotated_key_is_accepted_until_it_is_dropped(clock):
    token, _ = TokenService(TokenSettings(OLD), clock).issue(USER, "ann", "session")
    assert TokenService(TokenSettings(NEW, previous_secret=OLD), clock).verify(token).user_id == USER
    assert refusal(TokenService(TokenSettings(NEW), clock), token) is UNAUTHENTICATED


def claims(clock: ManualClock, **changes: object) -> dict[str, object]:
    now = clock.now_ms() // 1000
    whole = {
        "sub": USER,
        "username": "ann",
        "sid": "session",
        "jti": "1",
        "iss": "flow",
        "aud": "flow-clients",
        "iat": now,
        "exp": now + 60,
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def signed(clock: ManualClock, secret: str = NEW, algorithm: str = "HS256", **changes: object) -> str:
    kid = jwt.get_unverified_header(TokenService(TokenSettings(NEW), clock).issue(USER, "", "")[0])["kid"]
    return jwt.encode(claims(clock, **changes), secret, algorithm=algorithm, headers={"kid": kid})


def test_what_is_signed_with_our_key_and_whole_is_accepted(clock):
    assert TokenService(TokenSettings(NEW), clock).verify(signed(clock)).user_id == USER


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("exp", "iat", "iss", "aud", "sub", "sid", "jti")),
        {"iss": "somebody"},
        {"aud": "others"},
        {"sub": "nobody"},
        {"sid": 7},
        {"exp": "soon"},
        {"exp": 1e300},
        {"iat": 4_000_000_000},
        {"secret": OTHER},
        {"algorithm": "HS512", "secret": NEW * 2},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_whatever_is_missing_or_not_ours_is_refused(clock, changes):
    assert refusal(TokenService(TokenSettings(NEW), clock), signed(clock, **changes)) is UNAUTHENTICATED


def test_the_algorithm_is_never_taken_from_the_token(clock):
    service = TokenService(TokenSettings(NEW), clock)
    token, _ = service.issue(USER, "ann", "session")
    header, body, signature = token.split(".")
    kid = jwt.get_unverified_header(token)["kid"]
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": kid}).encode()).rstrip(b"=").decode()
    for forged in (f"{none}.{body}.", f"{none}.{body}.{signature}", f"{header}.{body}.", f"{header}.{body}"):
        assert refusal(service, forged) is UNAUTHENTICATED


@pytest.mark.parametrize("token", [None, 7, "", "a.b.c", "x" * 5000, b"bytes", "\ud800.x.y", "é.é.é"])
def test_nonsense_is_refused(clock, token):
    assert refusal(TokenService(TokenSettings(NEW), clock), token) is UNAUTHENTICATED


def test_no_character_of_a_token_can_be_changed(clock):
    service = TokenService(TokenSettings(NEW), clock)
    token, _ = service.issue(USER, "ann", "session")
    for at, character in enumerate(token):
        for other in {"A", "B", ".", "=", "-", "\n"} - {character}:
            assert refusal(service, token[:at] + other + token[at + 1 :]) is UNAUTHENTICATED
    for added in (token + "=", token + "A", token + ".", "." + token, token + "." + token):
        assert refusal(service, added) is UNAUTHENTICATED


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_ways_of_reading_a_token_find_the_same(clock, secret):
    service = TokenService(TokenSettings(NEW, previous_secret=OLD), clock)
    token, _ = TokenService(TokenSettings(secret), clock).issue(USER, "änn\u2603", "session")
    assert service._own_claims(token, secret.encode()) == service._any_claims(token)


def test_a_header_of_ours_in_other_words_is_read(clock):
    kid = jwt.get_unverified_header(signed(clock))["kid"]
    token = jwt.encode(claims(clock), NEW, algorithm="HS256", headers={"kid": kid, "cty": "JWT"})
    assert TokenService(TokenSettings(NEW), clock).verify(token).user_id == USER
    forged = jwt.encode(claims(clock), OTHER, algorithm="HS256", headers={"kid": kid, "cty": "JWT"})
    assert refusal(TokenService(TokenSettings(NEW), clock), forged) is UNAUTHENTICATED


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"7", b"\xff"])
def test_what_is_signed_must_be_claims(clock, body):
    service = TokenService(TokenSettings(NEW), clock)
    head = service.issue(USER, "ann", "session")[0].partition(".")[0].encode()
    whole = head + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(NEW.encode(), whole, "sha256")).rstrip(b"=")
    assert refusal(service, (whole + b"." + signature).decode()) is UNAUTHENTICATED


def test_a_short_secret_is_refused_and_none_is_ever_shown():
    with pytest.raises(ValueError, match="32 bytes"):
        TokenSettings("short")
    assert NEW not in repr(TokenSettings(NEW))


async def test_passwords_are_verified_and_hashed_anew_when_the_cost_changes():
    service, dearer = PasswordService(CHEAPEST), PasswordService(PRE_21_2)
    hashed = await service.hash("correct horse")
    assert await service.verify(hashed, "correct horse")
    assert not await service.verify(hashed, "wrong horse")
    assert not await service.verify(None, "no such user")
    assert not await service.verify("not a hash", "x")
    assert await service.rehashed(hashed, "correct horse") is None
    assert await dearer.rehashed(hashed, "correct horse") is not None
    for wrong in ("x" * 1025, "\ud800"):
        with pytest.raises(FlowError):
            await service.hash(wrong)
    service.close()
    dearer.close()


async def test_only_so_many_passwords_wait():
    service = PasswordService(CHEAPEST, threads=1, max_waiting=2)
    outcomes = await asyncio.gather(*(service.hash("x") for _ in range(4)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, FlowError)]
    assert [error.kind for error in refused] == [OVERLOADED] * 2
    assert service.statistics() == {"passwords_waiting": 0, "passwords_refused": 2}
    service.close()

"""SCRAM-SHA-256 by the example of RFC 7677, and what a false server may try."""

import base64

import pytest

from storage.direct.scram import Exchange, Salted, ScramRefused

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange() -> Exchange:
    return Exchange("user", Salted("pencil"), NONCE)


def test_the_example_of_the_standard() -> None:
    login = exchange()
    assert login.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert login.final(SERVER_FIRST) == CLIENT_FINAL
    login.check(SERVER_FINAL)


def test_a_name_with_the_signs_of_the_protocol_is_escaped() -> None:
    assert Exchange("a=b,c", Salted("p"), "x").first == b"n,,n=a=3Db=2Cc,r=x"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        SERVER_FIRST.replace(b"r=rO", b"r=xO"),
        SERVER_FIRST.replace(b"i=4096", b"i=4095"),
        SERVER_FIRST.replace(b"i=4096", b"i=1000001"),
        SERVER_FIRST.replace(b"i=4096", b"i=many"),
        SERVER_FIRST.replace(b"s=W2", b"s=!!"),
        b"e=other-error",
    ],
)
def test_a_first_message_that_is_not_of_this_login_is_refused(message: bytes) -> None:
    with pytest.raises(ScramRefused):
        exchange().final(message)


@pytest.mark.parametrize("message", [b"", b"\xff", b"v=", b"v=" + base64.b64encode(bytes(32)), b"e=invalid-proof"])
def test_a_server_that_does_not_know_the_password_is_refused(message: bytes) -> None:
    login = exchange()
    login.final(SERVER_FIRST)
    with pytest.raises(ScramRefused):
        login.check(message)


def test_the_salted_password_is_made_once_for_a_salt() -> None:
    salted = Salted("pencil")
    first = salted.by(b"salt", 4_096)
    assert salted.by(b"salt", 4_096) is first
    assert salted.by(b"other", 4_096) != first

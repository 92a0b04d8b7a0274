"""What is secret is hidden, and what is not is left alone."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from fluid.masking import HIDDEN, hide, is_denied, mask, mask_text, secret_names, secrets_of


class Card(BaseModel):
    number: SecretStr
    holder: str


class Charge(BaseModel):
    customer: str
    cards: list[Card] = []
    pin: SecretStr | None = None
    key: SecretBytes = Field(default=SecretBytes(b""), alias="theKey")


@dataclass
class Login:
    user: str
    code: SecretStr


class Call(msgspec.Struct):
    login: Login
    url: str = ""


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "accessToken",
        "X-API-Key",
        "Authorization",
        "set-cookie",
        "client_secret",
        "pwd",
    ],
)
def test_a_denied_name_is_known_however_it_is_written(name: str) -> None:
    assert is_denied(name)


@pytest.mark.parametrize(
    "name", ["customer", "max_tokens", "tokenizer", "secretary", "passenger", "key", "author"]
)
def test_a_name_that_only_looks_like_one_is_not_denied(name: str) -> None:
    assert not is_denied(name)


def test_secrets_are_hidden_at_any_depth() -> None:
    charge = Charge(
        customer="ada", cards=[Card(number=SecretStr("4111111111111111"), holder="A")], pin=SecretStr("0815")
    )
    assert mask({"charge": charge, "n": 1, "headers": {"Authorization": "Bearer x"}, "tags": ("a", "b")}) == {
        "charge": {
            "customer": "ada",
            "cards": [{"number": HIDDEN, "holder": "A"}],
            "pin": HIDDEN,
            "key": HIDDEN,
        },
        "n": 1,
        "headers": {"Authorization": HIDDEN},
        "tags": ["a", "b"],
    }


def test_what_holds_itself_is_looked_at_for_a_while() -> None:
    circle: dict[str, object] = {"password": "hunter22"}
    circle["itself"] = circle
    assert mask(circle)["itself"]["itself"]["password"] == HIDDEN
    assert secrets_of(circle) == ("hunter22",)


def test_names_can_be_denied_besides() -> None:
    assert mask({"inner": {"pin": "0815", "n": 1}}, ["pin"]) == {"inner": {"pin": HIDDEN, "n": 1}}


def test_the_names_of_secret_fields_are_known_from_the_model() -> None:
    assert secret_names(Charge) == ("key", "number", "pin", "theKey")
    assert secret_names(Call) == ("code",)
    assert secret_names(dict) == ()


def test_the_secret_texts_of_parameters_are_found() -> None:
    call = Call(Login("ada", SecretStr("swordfish")))
    assert secrets_of({"call": call, "password": "hunter22", "customer": "ada", "n": 5}) == (
        "swordfish",
        "hunter22",
    )


def test_a_secret_too_short_to_be_told_from_other_words_is_not_looked_for_in_texts() -> None:
    assert secrets_of({"password": "abc"}) == ()


def test_a_text_is_without_the_secrets() -> None:
    assert hide("login of ada with swordfish failed", ("swordfish",)) == f"login of ada with {HIDDEN} failed"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://user:pass@host/0 is away", "redis://***@host/0 is away"),
        ("password=hunter22, user=ada", "password=***, user=ada"),
        ("{'api_key': 'a b', 'n': 1}", "{'api_key': ***, 'n': 1}"),
        ('{"accessToken":"x.y"}', '{"accessToken":"x.y"}'),
        ('{"access_token":"x.y"}', '{"access_token":***}'),
        ("Authorization: Bearer x.y and more", "Authorization: *** and more"),
        ("unexpected token: '}'", "unexpected token: '}'"),
        ("at 12:30 a = b", "at 12:30 a = b"),
    ],
)
def test_what_is_given_to_denied_names_in_a_text_is_hidden(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize("text", ["a" * 200_000, "token_" * 30_000, "token='" * 30_000, "://a:" * 40_000])
def test_no_text_takes_long(text: str) -> None:
    # quadratic time would take minutes, and the timeout of the test ends that
    assert mask_text(text)

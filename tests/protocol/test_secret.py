from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import dataclass

import pytest

from protocol.secret import Secret

TEXT = "insecure hidden text"


@dataclass
class Holder:
    token: Secret[str]


def test_a_secret_shows_itself_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TEXT)
    logging.getLogger("test").warning("%s %r", secret, secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", repr(Holder(secret)), repr([secret]), caplog.text]
    assert not any(TEXT in text for text in shown)
    assert all("<secret>" in text for text in shown)
    assert secret.reveal() == TEXT


def test_a_secret_is_not_pickled_copied_or_written_as_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(TEXT))
    with pytest.raises(TypeError):
        copy.copy(Secret(TEXT))
    with pytest.raises(TypeError):
        json.dumps(Secret(TEXT))


def test_secrets_are_equal_to_themselves_alone() -> None:
    one, other = Secret(TEXT), Secret(TEXT)
    assert one == one  # noqa: PLR0124 - what is asked
    assert one != other
    assert one != TEXT
    assert len({one, other}) == 2

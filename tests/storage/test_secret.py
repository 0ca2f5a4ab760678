from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from expunge.storage.plain import to_json
from expunge.storage.secret import Secret
from tests.support.canary import find_canary

CANARY = "quokka-7491-zebra"


@pytest.fixture
def secret():
    return Secret(CANARY, "record 17")


@dataclasses.dataclass
class Holder:
    value: Secret


def test_every_way_of_printing_gives_the_label(secret):
    printed = [str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s %r" % (secret, secret), "{}".format(secret)]  # noqa: UP030, UP031, UP032
    nested = [repr([secret]), repr({"a": (secret,)}), repr(Holder(secret)), f"{secret:>14}", ascii(secret)]
    assert all("[record 17]" in text for text in printed + nested)
    assert find_canary(" ".join(printed + nested).encode(), CANARY) == []


def test_logs_and_tracebacks_do_not_hold_it(secret, caplog):
    logging.getLogger("expunge").error("bad: %s %r", secret, [secret])
    try:
        int(secret)  # type: ignore[call-overload]
    except TypeError:
        text = traceback.format_exc()
    assert find_canary((caplog.text + text).encode(), CANARY) == []


def test_writing_it_fails_instead_of_leaking(secret):
    for write in (json.dumps, to_json, pickle.dumps, copy.deepcopy, "".join, bytes, open):
        with pytest.raises(TypeError) as caught:
            write([secret] if write is not open else secret)
        assert CANARY not in str(caught.value)


def test_it_does_what_text_is_needed_for(secret):
    assert secret.reveal() == CANARY
    assert secret.label == "record 17"
    assert len(secret) == len(CANARY)
    other = secret.relabel("other")
    assert (other.reveal(), str(other)) == ("other", "[record 17]")
    assert secret == Secret(CANARY, "record 3")
    assert hash(secret) == hash(Secret(CANARY, "record 3"))
    assert secret != CANARY
    assert secret != other

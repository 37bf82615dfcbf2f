"""What the wire says of a change of handling is what the client said, or is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hashlists.model import SaidHandling
from matcher._proto.hashwarden.lists.v1 import lists_pb2
from matcher.client import messages
from matcher.errors import InvalidRequestError
from matcher.service.validation import check_handling_change

END = datetime(2101, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        SaidHandling("us"),
        SaidHandling(""),
        SaidHandling(releasable_to=("a", "b")),
        SaidHandling(releasable_to=()),
        SaidHandling("us", ("a",), END),
    ],
)
def test_comes_out_as_it_went_in(said, endless):
    request = messages.handling_request("demo", said, endless=endless, reason="why", author="Ada")
    assert (request.name, request.reason, request.author) == ("hashLists/demo", "why", "Ada")
    assert check_handling_change(request) == (said, endless and said.expires_at is None)


def test_what_is_not_named_does_not_change():
    request = lists_pb2.ChangeHandlingRequest()
    request.handling.originator = "us"
    request.handling.releasable_to.append("a")
    request.update_mask.paths.append("releasable_to")
    assert check_handling_change(request) == (SaidHandling(releasable_to=("a",)), False)


@pytest.mark.parametrize("paths", [[], ["state"], ["originator", "*"]])
def test_what_is_no_part_of_handling_is_refused(paths):
    request = lists_pb2.ChangeHandlingRequest()
    request.update_mask.paths.extend(paths)
    with pytest.raises(
        InvalidRequestError, match="expire_time, originator, releasable_to"
    ) as caught:
        check_handling_change(request)
    assert caught.value.field == "update_mask"


def test_an_end_that_is_over_is_refused():
    past = SaidHandling(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    request = messages.handling_request("demo", past, endless=False, reason="why", author="")
    with pytest.raises(InvalidRequestError, match="is over") as caught:
        check_handling_change(request)
    assert caught.value.field == "handling.expire_time"


@pytest.mark.parametrize("recipients", [["x"] * 65, ["a\x07b"]])
def test_values_out_of_range_are_refused(recipients):
    request = lists_pb2.ChangeHandlingRequest()
    request.handling.releasable_to.extend(recipients)
    request.update_mask.paths.append("releasable_to")
    with pytest.raises(InvalidRequestError) as caught:
        check_handling_change(request)
    assert caught.value.field == "handling.releasable_to"

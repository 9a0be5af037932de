"""Every message survives the wire, and nothing else does."""

import math
import typing

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dirsync.core.entry import File, Problem, Role, Symlink
from dirsync.core.events import Event, EventName
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Change, Step
from dirsync.errors import LocalProtocolError, RemoteProtocolError
from dirsync.limits import FRAME_BYTES_MAX, PATH_BYTES_MAX
from dirsync.wire.client_messages import ListRequest, UnlockReply, WaitRequest
from dirsync.wire.codec import decode, encode
from dirsync.wire.meeting import Chunk, Denied, Done, Welcome
from dirsync.wire.messages import Cancel, Envelope, Message, Notice, Part, Reply, Request
from dirsync.wire.plain import FIELDS_MAX
from dirsync.wire.replica_messages import (
    ApplyReply,
    ApplyRequest,
    EventsNotice,
    HistoryRequest,
    LookRequest,
    PutRequest,
    ReportsNotice,
)
from tests.wire.values import values_of

KINDS = typing.get_args(Message)
FILE = File(b"d" * 32, 5, 10, 0o644)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_survives(kind):
    @settings(max_examples=40, deadline=None)
    @given(values_of(kind))
    def survives(body):
        sent = Reply(7, body)
        received = decode(encode(sent))
        assert received == sent
        assert type(received.body) is kind

    survives()


@given(values_of(Envelope))
@settings(max_examples=200, deadline=None)
def test_every_envelope_survives(envelope):
    assert decode(encode(envelope)) == envelope


def test_the_time_of_a_link_survives_though_it_is_not_compared():
    body = ReportsNotice((Change(b"l", Symlink(b"to", 12)),))
    received = decode(encode(Notice(body)))
    assert received.body.reports[0].found.mtime_ns == 12


def test_numbers_are_places_and_stay_what_they_are():
    # These numbers are the protocol: a change of any of them needs another major version.
    assert [msgpack.unpackb(encode(kind))[0] for kind in (Request(1, Done()), Part(1, Done()), Cancel(1))] == [0, 1, 4]
    assert msgpack.unpackb(encode(Request(9, ListRequest()))) == [0, [9, [28, []]]]
    assert msgpack.unpackb(encode(Notice(ReportsNotice((Change(b"a", Problem("p")),))))) == [
        5,
        [[6, [[[0, [b"a", [4, ["p"]]]]]]]],
    ]


def test_enumerations_come_back_as_members():
    reply = decode(encode(Reply(1, Welcome(1, 0, Role.B))))
    assert reply.body.role is Role.B


# What is not said twice.


def step_to(intended, expected=FILE):
    return Request(1, ApplyRequest((Step(Action(RelPath(b"f"), expected, intended)),)))


@pytest.mark.parametrize(
    "intended",
    [FILE._replace(mode=0o600), FILE._replace(mtime_ns=-1), File(b"e" * 32, 5, 0, 0), File(b"e" * 32, 0, 0, 0)],
)
def test_a_file_is_told_by_what_is_new_of_it(intended):
    sent = step_to(intended)
    assert decode(encode(sent)) == sent
    repeated = sum(old == new for old, new in zip(FILE, intended, strict=True))
    [[(_path, _expected, (_kind, told))]] = msgpack.unpackb(encode(sent))[1][1][1][0]
    assert told.count(None) == repeated


def test_what_is_applied_is_not_told_again():
    assert len(encode(Reply(1, ApplyReply((Applied(1000),) * 100)))) < 8 * 100


# What other minor versions may do.


def test_fields_that_a_later_version_appends_are_ignored():
    later = msgpack.packb([2, [1, [KINDS.index(UnlockReply), [3, "a later field"]]]])
    assert decode(later) == Reply(1, UnlockReply(3))


def test_fields_that_an_earlier_version_lacks_have_their_defaults():
    earlier = msgpack.packb([2, [1, [KINDS.index(Welcome), [1, 0, "a"]]]])
    assert decode(earlier) == Reply(1, Welcome(1, 0, Role.A))


def test_fields_without_a_default_must_be_there():
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb([2, [1, [KINDS.index(Welcome), [1, 0]]]]))


# What must not get in.


def packed(body, fields):
    return msgpack.packb([0, [1, [KINDS.index(body), fields]]], unicode_errors="surrogateescape")


PATHS = [b"", b"/a", b"a/", b"a//b", b".", b"a/../b", b"..", b"a\0b", b"n" * 256, b"a/" * PATH_BYTES_MAX + b"a", "text"]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_path_that_is_not_one_is_refused(path):
    with pytest.raises(RemoteProtocolError):
        decode(packed(HistoryRequest, [path]))
    with pytest.raises(RemoteProtocolError):
        decode(msgpack.packb([5, [[6, [[[0, [path, None, None, 0, 0.0]]]]]]]))


REFUSED = {
    "nothing in common": packed(ApplyRequest, [[[[b"f", None, [0, [None, 1, 1, 1]]]]]]),
    "in common with another kind": packed(ApplyRequest, [[[[b"f", [1, [0o755]], [0, [None, None, 1, 1]]]]]]),
    "in common with what is not there": packed(ApplyRequest, [[[[b"f", [0, [b"d" * 32]], [0, [None] * 4]]]]]),
    "in common with no fields": packed(ApplyRequest, [[[[b"f", [0, None], [0, [None] * 4]]]]]),
    "digest of 31 bytes": packed(PutRequest, [b"d" * 31, 0, 0]),
    "digest of 33 bytes": packed(PutRequest, [b"d" * 33, 0, 0]),
    "negative size": packed(PutRequest, [b"d" * 32, -1, 0]),
    "size beyond 63 bits": packed(PutRequest, [b"d" * 32, 2**63, 0]),
    "truth for a number": packed(PutRequest, [b"d" * 32, True, 0]),
    "number for truth": packed(LookRequest, [1]),
    "bytes for text": packed(Denied, [b"no"]),
    "text for bytes": packed(Chunk, ["data"]),
    "not a number": packed(WaitRequest, [math.nan]),
    "infinity": packed(WaitRequest, [math.inf]),
    "unknown role": packed(Welcome, [1, 0, "c"]),
    "role of another type": packed(Welcome, [1, 0, []]),
    "unknown message": msgpack.packb([0, [1, [len(KINDS), []]]]),
    "negative message": msgpack.packb([0, [1, [-1, []]]]),
    "true as a message": msgpack.packb([0, [1, [True, []]]]),
    "unknown envelope": msgpack.packb([6, [1]]),
    "no message": msgpack.packb([0, [1, None]]),
    "fields of another type": msgpack.packb([0, [1, [4, {}]]]),
    "negative id": msgpack.packb([4, [-1]]),
    "bits beyond permissions": msgpack.packb([5, [[6, [[[0, [b"a", [1, [0o4755]], None, 0, 0.0]]]]]]]),
    "a link without text": msgpack.packb([5, [[6, [[[0, [b"a", [2, [b"", 0]], None, 0, 0.0]]]]]]]),
    "a link with NUL": msgpack.packb([5, [[6, [[[0, [b"a", [2, [b"x\0y", 0]], None, 0, 0.0]]]]]]]),
    "an entry without its kind": msgpack.packb([5, [[6, [[[0, [b"a", [0o755], None, 0, 0.0]]]]]]]),
    "an event field of another type": packed(EventsNotice, [[[1, "a", "ready", None, {"k": b"bytes"}]]]),
    "an event field that is not a number": packed(EventsNotice, [[[1, "a", "ready", None, {"k": math.nan}]]]),
    "an event field beyond 64 bits": packed(EventsNotice, [[[1, "a", "ready", None, {"k": 2**64 - 1}]]]),
    "an event key of bytes": packed(EventsNotice, [[[1, "a", "ready", None, {b"k": 1}]]]),
    "too many event fields": packed(
        EventsNotice, [[[1, "a", "ready", None, {str(i): i for i in range(FIELDS_MAX + 1)}]]]
    ),
    "a chunk without its id": b"\xc1\0" + bytes(7),
    "a chunk with an id beyond 63 bits": b"\xc1\0" + b"\xff" * 8,
    "nothing": b"",
    "a plain number": b"\x01",
    "trailing bytes": encode(Cancel(1)) + b"\0",
    "a truncated message": encode(Reply(1, Denied("a reason")))[:-1],
    "an array that claims too much": b"\xdd\xff\xff\xff\xff",
    "bytes that claim too much": b"\xc6\xff\xff\xff\xff",
    "arrays in arrays that claim much": b"\xdd\x00\x03\xff\xff" * 1000,
    "deep nesting": b"\x91" * FRAME_BYTES_MAX,
    "deep maps": b"\x81\xa0" * 100_000,
    "an extension": b"\xd4\x01\x00",
    "an empty extension": b"\xc7\x00\x01",
    "a time stamp": b"\xd6\xff\x00\x00\x00\x00",
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_valid_message_is_refused(payload):
    with pytest.raises(RemoteProtocolError):
        decode(payload)


@given(st.binary(max_size=200))
@example(b"\xc1")
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_message_or_refused(payload):
    try:
        envelope = decode(payload)
    except RemoteProtocolError:
        return
    assert decode(encode(envelope)) == envelope


@given(values_of(Envelope), st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_message_is_a_message_or_refused(envelope, data):
    payload = bytearray(encode(envelope))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(payload))
    except RemoteProtocolError:
        pass


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=5)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.integers(0, len(KINDS) - 1), st.lists(nested, max_size=9))
@settings(max_examples=200, deadline=None)
def test_any_fields_are_a_message_or_refused(number, fields):
    try:
        decode(msgpack.packb([0, [1, [number, fields]]], unicode_errors="surrogatepass"))
    except RemoteProtocolError:
        pass


# What must not get out.


@pytest.mark.parametrize(
    "body",
    [
        PutRequest(b"d" * 32, 2**64, 0),
        WaitRequest(math.nan),
        Denied("\ud800"),
        EventsNotice((Event(1, Role.A, EventName.READY, None, {"ms": math.inf}),)),
        EventsNotice((Event(1, Role.A, EventName.READY, None, dict.fromkeys(map(str, range(FIELDS_MAX + 1)), 1)),)),
        Done,
        Cancel(1),
    ],
    ids=str,
)
def test_what_the_protocol_cannot_carry_is_our_fault_and_leaves_nothing_behind(body):
    with pytest.raises(LocalProtocolError):
        encode(Request(1, body))
    assert decode(encode(Request(2, Done()))) == Request(2, Done())

"""Large contents told by what they have of a base: the same content, the edit's cost, and nothing believed."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dirsync.coordinator.bringing import Content, bring
from dirsync.core.chunks import AVERAGE_MIN, DIGEST_BYTES, SPAN_BYTES_MAX, Manifest, Span, row_of, size_of_piece
from dirsync.core.entry import Role
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, ContentAt, Step
from dirsync.errors import Refusal
from dirsync.replica.manifests import _FRESH_MAX
from dirsync.replica.remote import RemoteReplica
from dirsync.replica.serve import ReplicaServer
from dirsync.replica.sources import Comparison
from dirsync.wire.meeting import Chunk
from dirsync.wire.replica_messages import PutRequest, SpanPart
from tests.replica.local_ground import local_ground, rel
from tests.replica.test_local_apply import a_file, chunks_of
from tests.support.memory_link import joined

OLD = random.Random(1).randbytes(1_500_000)
NEW = OLD[:700_000] + b"inserted" + OLD[700_000:]
F = rel("f")
FINE = 512


class InMemory:
    """What a Comparison reads from."""

    def __init__(self, content):
        self._content = content

    def read_into(self, buffer, offset):
        part = self._content[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


def manifest_of(content, average=AVERAGE_MIN):
    comparison = Comparison(InMemory(content), 0, len(content), average)
    while comparison.next(100_000):
        pass
    return Manifest(average, bytes(comparison.rows))


def pieces_of(content, base, offset=0, read_bytes=100_000):
    comparison = Comparison(InMemory(content), offset, len(content), base.average, base)
    pieces = []
    while some := comparison.next(read_bytes):
        pieces += some
    return pieces


def told(pieces, base):
    return b"".join(base[p.offset : p.offset + p.size] if isinstance(p, Span) else p for p in pieces)


EDITS = st.lists(
    st.tuples(st.integers(0, 40_000), st.integers(0, 3000), st.binary(max_size=50), st.booleans()), max_size=6
)


@given(st.integers(0, 3), EDITS, st.integers(0, 50_000), st.sampled_from([1500, 10_000, 1_000_000]))
@settings(max_examples=60, deadline=None)
def test_any_edits_of_any_content_are_told_from_any_offset(seed, edits, offset, read_bytes):
    old = random.Random(seed).randbytes(40_000)
    new = old
    for place, removed, added, is_moved in edits:
        moved = old[:removed] if is_moved else b""
        new = new[:place] + added + moved + new[place + removed :]
    offset = min(offset, len(new))
    pieces = pieces_of(new, manifest_of(old, FINE), offset, read_bytes)
    assert told(pieces, old) == new[offset:]
    assert all(0 < size_of_piece(piece) <= SPAN_BYTES_MAX for piece in pieces)


def test_a_manifest_does_not_depend_on_how_the_content_was_read():
    comparison = Comparison(InMemory(OLD), 0, len(OLD), AVERAGE_MIN, manifest_of(OLD))
    while comparison.next(7_000):
        pass
    assert comparison.rows == manifest_of(OLD).rows


EDITED = {
    "inserted": NEW,
    "appended": OLD + b"appended" * 3000,
    "shortened": OLD[:-1000],
    "begun anew": OLD[200_000:],
    "moved": OLD[700_000:] + OLD[:700_000],
    "repeated": OLD + OLD,
    "another": random.Random(2).randbytes(300_000),
}


@pytest.mark.parametrize("new", EDITED.values(), ids=EDITED.keys())
@pytest.mark.parametrize("read_bytes", [7_000, 1_000_000])
def test_the_chunks_of_a_content_do_not_depend_on_the_base_that_it_is_compared_with(new, read_bytes):
    comparison = Comparison(InMemory(new), 0, len(new), AVERAGE_MIN, manifest_of(OLD))
    while comparison.next(read_bytes):
        pass
    assert comparison.rows == manifest_of(new).rows


def test_chunks_of_no_length_and_endless_ones_of_a_lying_base_do_no_harm():
    nothing, endless = row_of(0, blake3(b"").digest(length=16)), row_of(2**32 - 1, bytes(16))
    lie = Manifest(AVERAGE_MIN, nothing * 100 + manifest_of(OLD).rows + endless + nothing)
    pieces = pieces_of(NEW, lie)
    assert told(pieces, OLD) == NEW
    assert all(0 < size_of_piece(piece) <= SPAN_BYTES_MAX for piece in pieces)


def test_an_insertion_costs_about_its_chunk():
    literal = [piece for piece in pieces_of(NEW, manifest_of(OLD)) if not isinstance(piece, Span)]
    assert 0 < sum(map(len, literal)) < 16 * AVERAGE_MIN


def test_what_becomes_shorter_while_it_is_compared_is_refused():
    comparison = Comparison(InMemory(OLD), 0, len(OLD) + 1, AVERAGE_MIN)
    assert comparison.next(100_000)
    with pytest.raises(Refusal, match="shorter"):
        comparison.next(len(OLD))


# Into a near replica


async def several(*pieces):
    for piece in pieces:
        yield piece


def put(ground, pieces, offset=0, content=NEW, base=OLD):
    new = a_file(content)
    digest = None if base is None else a_file(base).digest
    return ground.replica.put(new.digest, new.size, offset, several(*pieces), base=digest)


@asynccontextmanager
async def with_old(path):
    path.mkdir(exist_ok=True)
    async with local_ground(path) as ground:
        ground.write("f", OLD)
        await ground.drain()
        yield ground


async def test_ranges_of_the_base_and_bytes_make_the_content(tmp_path):
    async with with_old(tmp_path) as ground:
        assert await put(ground, pieces_of(NEW, manifest_of(OLD)))
        expected = ground.replica._site.index.entry(F)
        (result,) = await ground.replica.apply([Step(Action(F, expected, a_file(NEW)))])
        assert isinstance(result, Applied)
        assert ground.read("f") == NEW


async def test_a_transfer_that_was_cut_goes_on_with_what_is_missing(tmp_path):
    pieces = pieces_of(NEW, manifest_of(OLD))
    half = len(pieces) // 2 + 1

    async def cut_off():
        for piece in pieces[:half]:
            yield piece
        raise ConnectionResetError

    async with with_old(tmp_path) as ground:
        new = a_file(NEW)
        with suppress(ConnectionResetError):
            await ground.replica.put(new.digest, new.size, 0, cut_off(), base=a_file(OLD).digest)
        have = await ground.replica.stage(new.digest, new.size)
        assert have == sum(map(size_of_piece, pieces[:half]))
        assert await put(ground, pieces_of(NEW, manifest_of(OLD), have), have)


async def test_ranges_that_do_not_make_the_content_are_not_taken_for_it(tmp_path):
    wrong = [*pieces_of(NEW, manifest_of(OLD))[:-1], Span(0, 1)]
    async with with_old(tmp_path) as ground:
        assert not await put(ground, wrong)
        assert await ground.replica.stage(a_file(NEW).digest, len(NEW)) == 0


@pytest.mark.parametrize(
    ("span", "base", "reason"),
    [
        (Span(len(OLD) - 10, 11), OLD, "does not have"),
        (Span(2**62, 5), OLD, "does not have"),
        (Span(0, 5), b"never seen", "not here"),
        (Span(0, 5), None, "not named"),
    ],
    ids=["beyond the end", "far beyond the end", "an unknown base", "no base"],
)
async def test_a_range_of_nothing_is_refused(tmp_path, span, base, reason):
    async with with_old(tmp_path) as ground:
        with pytest.raises(Refusal, match=reason):
            await put(ground, [span], base=base)


async def test_chunks_are_learnt_of_what_was_sent_and_received_and_after_a_start_still_known(tmp_path):
    async with with_old(tmp_path) as ground:
        old = ground.replica._site.index.entry(F)
        assert not await ground.replica.knows(old.digest)
        async for _ in ground.replica.supply(ContentAt(F, old), 0):
            pass
        new = a_file(NEW)
        assert await ground.replica.put(new.digest, new.size, 0, chunks_of(NEW))
        await ground.replica.apply([Step(Action(rel("g"), None, new))])
        await known(ground, old.digest, new.digest)
        while ground.replica._contents.manifests._fresh:
            await asyncio.sleep(0.01)
    async with local_ground(tmp_path) as ground:
        assert await ground.replica.knows(old.digest)
        assert await ground.replica.manifest(new.digest) == manifest_of(NEW)


async def known(ground, *digests):
    for digest in digests:
        while not await ground.replica.knows(digest):
            await asyncio.sleep(0.01)


async def test_more_chunks_than_are_asked_for_are_not_kept_in_memory(tmp_path):
    async with with_old(tmp_path) as ground:
        manifests = ground.replica._contents.manifests
        with manifests.transferring():
            for number in range(100):
                await ground.replica.learn(a_file(b"%d" % number).digest, manifest_of(b"1"))
            assert len(manifests._fresh) == _FRESH_MAX
            assert await ground.replica.knows(a_file(b"99").digest)


# From one replica to the other


@asynccontextmanager
async def remote_of(ground):
    """The replica as it is seen from afar, with what was counted of contents."""
    control, far_control, _ = joined()
    bulk, far_bulk, _ = joined()
    server = ReplicaServer(ground.replica)
    far_bulk.serve(server.answer_bulk)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(far_control))
        async with far_bulk, control, bulk:
            counted = []
            tell = lambda _key, count: counted.append(count)  # noqa: E731
            yield RemoteReplica(Role.B, control, bulk, tell, on_event=lambda _: None), counted, bulk


@asynccontextmanager
async def edited(tmp_path, way):
    """Two replicas that have the same file, which was edited at one; yields source, target, what is to be brought."""
    async with with_old(tmp_path / "near") as near, with_old(tmp_path / "far") as far, remote_of(far) as afar:
        replica, counted, _ = afar
        source, target = (near, far) if way == "to b" else (far, near)
        old = target.replica._site.index.entry(F)
        source.write("f", NEW)
        await source.drain()
        content = Content(ContentAt(F, source.replica._site.index.entry(F)), old)
        ends = (near.replica, replica) if way == "to b" else (replica, near.replica)
        yield source, target, content, ends, counted


def is_whole(target):
    return target.replica._site.ground.staging.received(a_file(NEW).digest) == (len(NEW), True)


@pytest.mark.parametrize("way", ["to b", "to a"])
async def test_an_edit_costs_the_edit_though_the_source_has_never_seen_the_chunks_of_the_old_content(tmp_path, way):
    async with edited(tmp_path, way) as (_, target, content, ends, counted):
        await bring(content, *ends, 0, lambda _: None)
        assert is_whole(target)
        assert 0 < sum(counted) < 16 * AVERAGE_MIN


@pytest.mark.parametrize("way", ["to b", "to a"])
async def test_a_wrong_manifest_costs_bytes_and_is_forgotten(tmp_path, way):
    rows = manifest_of(NEW).rows
    size = len(row_of(0, bytes(DIGEST_BYTES)))
    lies = rows[size : 2 * size] + rows[:size] + rows[2 * size : -size]
    async with edited(tmp_path, way) as (source, target, content, ends, counted):
        await source.replica.learn(content.present.digest, Manifest.of(AVERAGE_MIN, lies))
        await bring(content, *ends, 0, lambda _: None)
        assert is_whole(target)
        assert sum(counted) >= len(NEW)
        assert not await source.replica.knows(content.present.digest)


@pytest.mark.parametrize("way", ["to b", "to a"])
async def test_a_base_that_is_gone_by_then_is_done_without(tmp_path, way):
    async with edited(tmp_path, way) as (_, target, content, ends, counted):
        assert await target.replica.manifest(content.present.digest) == manifest_of(OLD)
        target.write("f", OLD[:-1])
        await target.drain()
        await bring(content, *ends, 0, lambda _: None)
        assert is_whole(target)
        assert sum(counted) >= len(NEW)


@pytest.mark.parametrize("size", [0, SPAN_BYTES_MAX + 1])
async def test_a_far_end_cannot_have_more_copied_at_once_than_a_span_may_be(tmp_path, size):
    async with with_old(tmp_path) as ground, remote_of(ground) as (_, _, bulk):
        request = PutRequest(a_file(NEW).digest, 2**40, 0, a_file(OLD).digest)

        async def parts():
            yield SpanPart(Span(0, size))
            yield Chunk(b"")

        with pytest.raises(Refusal, match="expected"):
            await bulk.upload(request, parts())

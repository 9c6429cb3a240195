"""Every step of a plan is safe to stop after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core.decide import judge_file, judge_net
from enforcer.core.ids import Ids, Reserved, allocate
from enforcer.core.image import TIMELESS, Image, InodeKey, NetKey, Object, Row, RowKey, Subject, Table
from enforcer.core.model import Access, DataRule, Inode, Kind, Mode, Verdict
from enforcer.core.plan import NETWORK, Delete, Publish, Put, Renew, applied, plan
from tests.unit.worlds import (
    ADDRESSES,
    BACKEND,
    DEVICE,
    GUIDE,
    GUIDE_FACTS,
    GUIDE_OBJECTS,
    PORTS,
    SELECTOR,
    built,
    data_object,
    facts,
    hosts,
    policies,
    volume,
)

ALL = Access.READ | Access.WRITE | Access.EXEC | Access.CONNECT


@st.composite
def reloads(draw) -> tuple[Image, Image]:
    """Two policies on the same host: two generations."""
    host = draw(hosts())
    old, ids = built(draw(policies), host, generation=1)
    new, _ = built(draw(policies), host, generation=2, ids=ids)
    return old, new


@st.composite
def changes(draw) -> tuple[Image, Image]:
    """The same policy on a host that changed: one generation."""
    policy = draw(policies)
    old, ids = built(policy, draw(hosts()), generation=1)
    new, _ = built(policy, draw(hosts()), generation=1, ids=ids)
    return old, new


@st.composite
def reloads_of_changed_hosts(draw) -> tuple[Image, Image]:
    """Policy and host changed at once."""
    old, ids = built(draw(policies), draw(hosts()), generation=1)
    new, _ = built(draw(policies), draw(hosts()), generation=2, ids=ids)
    return old, new


_rows = st.builds(Row, granted=st.sampled_from([0, 1, 3, 15]), mode=st.sampled_from([0, 1]))
_keys = st.builds(RowKey, generation=st.just(1), subject=st.just(16), object=st.sampled_from([18, 19, 20]))
_inodes = st.builds(InodeKey, inode=st.integers(1, 3), device=st.just(DEVICE), generation=st.just(1))
_objects = st.builds(Object, id=st.sampled_from([18, 19, 20]), has_inner=st.just(0))


@st.composite
def crowded(draw) -> Image:
    """One subject, few objects and few inodes, so that everything that can change at once does."""
    rows = draw(st.dictionaries(_keys, _rows)) | {RowKey(1, 16, 0): Row(0, draw(st.sampled_from([0, 1])))}
    return Image(1, tables={Table.ROWS: rows, Table.OBJECTS: draw(st.dictionaries(_inodes, _objects))})


anything = st.one_of(reloads(), changes(), reloads_of_changed_hosts())


def steps(old: Image, new: Image) -> Iterator[Image]:
    """What the kernel holds before the first operation and after each."""
    now = old
    yield now
    for op in plan(old, new):
        now = applied(now, [op])
        yield now


def subjects(*images: Image) -> set[int]:
    """Every subject that any of the images has rows for."""
    return {key.subject for image in images for key in image.rows}


def seen(image: Image) -> dict[Table, dict]:
    """What the probes can find: the rows of the live generation, without its number."""
    return {
        table: {k._replace(generation=0): v for k, v in rows.items() if k.generation == image.generation}
        for table, rows in image.tables.items()
        if table not in TIMELESS
    }


@settings(deadline=None, max_examples=60)
@given(images=reloads())
def test_no_container_ever_sees_half_a_policy(images):
    """After any prefix of a reload the probes find all of the old or all of the new, and who is who stays."""
    old, new = images
    before, after = seen(old), seen(new)
    for now in steps(old, new):
        assert seen(now) == (before if now.generation == old.generation else after)
        assert all(now.tables[table] == old.tables[table] for table in TIMELESS)


@settings(deadline=None)
@given(images=anything)
def test_a_plan_leads_to_its_end(images):
    """All operations applied to the old image give the new one, and from empty maps too."""
    old, new = images
    assert applied(old, plan(old, new)) == new
    assert applied(None, plan(None, new)) == new


@settings(deadline=None)
@given(images=anything)
def test_nothing_to_do_is_nothing(images):
    """A plan holds only differences: none from an image to itself, no write of what is there, no key deleted twice."""
    old, new = images
    assert plan(old, old) == ()
    now = old
    for op in plan(old, new):
        match op:
            case Put(table, key, value):
                assert now.tables[table].get(key) != value
            case Delete(table, key):
                assert key in now.tables[table]
            case Publish(generation):
                assert generation != now.generation
        now = applied(now, [op])


@settings(deadline=None)
@given(images=anything)
def test_flows_are_judged_anew_whenever_they_might_be_judged_otherwise(images):
    """After the last change to what the network is judged by: a flow that was judged in the middle is asked about again."""
    old, new = images
    ops = plan(old, new)
    touched = [n for n, op in enumerate(ops) if isinstance(op, Put | Delete) and op.table in NETWORK]
    renewed = [n for n, op in enumerate(ops) if isinstance(op, Renew | Publish)]
    swept = old.generation != new.generation
    assert bool(renewed) is (bool(touched) or swept)
    assert swept or not touched or renewed[-1] > touched[-1]


@settings(deadline=None)
@given(images=anything)
def test_whoever_is_known_has_rows(images):
    """After any prefix, all containers and cgroups that are known have rows in the live generation."""
    old, new = images
    for now in steps(old, new):
        named = {v.id if isinstance(v, Subject) else v for table in TIMELESS for v in now.tables[table].values()}
        for subject in named:
            assert RowKey(now.generation, subject, 0) in now.rows
            assert NetKey(now.generation, subject) in now.net_subjects


def _files(*images: Image) -> list[list[Inode]]:
    """Files by the inodes above them: in each object, and in each object within another."""
    inodes = sorted({Inode(key.device, key.inode) for image in images for key in image.objects})
    return [[inode] for inode in inodes] + [[a, b] for a in inodes for b in inodes if a != b]


@settings(deadline=None, max_examples=500)
@given(images=changes() | st.tuples(crowded(), crowded()))
def test_a_changing_host_opens_no_file(images):
    """While the host changes, no file is granted more than before or after, nor let through if denied in both."""
    old, new = images
    cases = [(s, f) for s in subjects(old) & subjects(new) for f in _files(old, new)]

    def judged(image, subject, inodes):
        return judge_file(image, subject=subject, inodes=inodes, asked=ALL)

    for now in steps(old, new):
        for subject, inodes in cases:
            found = judged(now, subject, inodes)
            ends = [judged(old, subject, inodes), judged(new, subject, inodes)]
            assert any(found.granted in end.granted for end in ends)
            if all(end.verdict is Verdict.DENIED for end in ends):
                assert found.verdict is Verdict.DENIED


@settings(deadline=None, max_examples=150)
@given(images=changes())
def test_a_changing_host_opens_no_connection(images):
    """While the host changes under a policy, no connection is let through that is denied before and after."""
    old, new = images
    tries = [(a, *p) for a in ADDRESSES for p in PORTS[:2]]

    def judged(image, subject, address, protocol, port):
        return judge_net(image, subject=subject, address=address, protocol=protocol, port=port).verdict

    shut = [
        (subject, *attempt)
        for subject in subjects(old) & subjects(new)
        for attempt in tries
        if judged(old, subject, *attempt) is judged(new, subject, *attempt) is Verdict.DENIED
    ]
    for now in steps(old, new):
        assert all(judged(now, *attempt) is Verdict.DENIED for attempt in shut)


# --- the orders, one by one -------------------------------------------------------------------------------------------


def tables_of(ops, kind) -> list[Table]:
    """The tables that operations of a kind touch, in order, repetitions left out."""
    return list(dict.fromkeys(op.table for op in ops if isinstance(op, kind)))


def test_a_reload_publishes_between_writing_and_sweeping():
    """All rows of the new generation, then one store, then the old rows go."""
    old, ids = built(GUIDE, GUIDE_FACTS, generation=1)
    new, _ = built(replace(GUIDE, data_rules=()), GUIDE_FACTS, generation=2, ids=ids)
    ops = plan(old, new)
    at = ops.index(Publish(2))
    assert {type(op) for op in ops[:at]} == {Put}
    assert {type(op) for op in ops[at + 1 :]} == {Delete}
    assert all(op.key.generation == 2 for op in ops[:at])
    assert all(op.key.generation == 1 for op in ops[at + 1 :])


def test_the_first_load_names_nobody_before_its_rows_are_live():
    """From empty maps: rows, publish, then the names of containers."""
    ops = plan(None, built(GUIDE, GUIDE_FACTS)[0])
    assert tables_of(ops[ops.index(Publish(1)) :], Put) == [Table.PREPARED, Table.CGROUPS]


def test_a_new_container_is_known_last():
    """Its rows, its addresses, then its Docker id, then its cgroup; nothing is deleted or published for it."""
    old, ids = built(GUIDE, facts((SELECTOR,), GUIDE_FACTS.networks.values(), GUIDE_OBJECTS))
    new, _ = built(GUIDE, facts((SELECTOR, BACKEND), GUIDE_FACTS.networks.values(), GUIDE_OBJECTS), ids=ids)
    ops = plan(old, new)
    assert {type(op) for op in ops[:-1]} == {Put}
    assert ops[-1:] == (Renew(),)
    assert tables_of(ops, Put) == [
        Table.ROWS, Table.NAMES, Table.MEMBERS, Table.NET_SUBJECTS, Table.ENDPOINTS, Table.PREPARED, Table.CGROUPS,
    ]  # fmt: skip
    assert tables_of(plan(new, old), Delete) == [
        Table.ENDPOINTS, Table.CGROUPS, Table.PREPARED, Table.NET_SUBJECTS, Table.MEMBERS, Table.NAMES, Table.ROWS,
    ]  # fmt: skip


def test_a_second_name_for_a_directory_costs_no_lawful_access():
    """When a new volume turns out to be an old one's directory, whoever may use it loses it at no step."""
    policy = replace(
        GUIDE,
        protected=(volume("*"),),
        data_rules=(DataRule("data.rules[0]", ("agents",), (volume("z"),)),),
    )
    first, second = data_object(Kind.VOLUME, "z", 70), data_object(Kind.VOLUME, "a", 70)
    old, ids = built(policy, facts((SELECTOR,), (), (first,)))
    new, ids = built(policy, facts((SELECTOR,), (), (first, second)), ids=ids)
    for now in steps(old, new):
        found = judge_file(now, subject=ids.subject(SELECTOR.id), inodes=[Inode(DEVICE, 70)], asked=Access.WRITE)
        assert found.verdict is Verdict.ALLOWED


def test_an_address_that_changes_hands_is_nobodys_in_between():
    """A grant to the old holder of an address never reaches the new one."""
    taken = replace(BACKEND, attachments=SELECTOR.attachments)
    gone = replace(SELECTOR, attachments=())
    old, ids = built(GUIDE, facts((SELECTOR,), GUIDE_FACTS.networks.values()))
    new, _ = built(GUIDE, facts((gone, taken), GUIDE_FACTS.networks.values()), ids=ids)
    touched = [type(op) for op in plan(old, new) if isinstance(op, Put | Delete) and op.table is Table.ENDPOINTS]
    assert touched == [Delete, Put]


def test_a_cgroup_whose_container_is_replaced_during_a_reload_stays_governed():
    """A cgroup id that the kernel gave again leads to the unnamed subject until the new rows are live."""
    successor = replace(BACKEND, cgroup=SELECTOR.cgroup)
    old, ids = built(GUIDE, facts((SELECTOR,)), generation=1)
    new, ids = built(GUIDE, facts((successor,)), generation=2, ids=ids)
    path = [now.tables[Table.CGROUPS][SELECTOR.cgroup].id for now in steps(old, new)]
    assert list(dict.fromkeys(path)) == [ids.subject(SELECTOR.id), Reserved.UNNAMED, ids.subject(BACKEND.id)]


def test_images_are_equal_by_what_the_kernel_holds():
    """Reasons and warnings are no rows: a plan owes nothing for them."""
    image, _ = built(GUIDE, GUIDE_FACTS)
    assert replace(image, warnings=("x",), reasons={}) == image
    assert replace(image, generation=9) != image
    assert Image(1, tables={Table.ROWS: {}}) == Image(1)


def test_ids_grow_but_an_image_of_the_same_facts_stays():
    """More ids than needed change nothing: an unchanged host costs no operation."""
    ids = allocate(Ids(), GUIDE, GUIDE_FACTS)
    old, _ = built(GUIDE, GUIDE_FACTS, ids=ids)
    grown = allocate(ids, replace(GUIDE, mode=Mode.MONITOR), facts((BACKEND,)))
    assert plan(old, built(GUIDE, GUIDE_FACTS, ids=grown)[0]) == ()

-- Results of a map's items, and of branches that arrive at a join, are taken as a set.

update pgorch.nodes n set fast_out = true where n.type = 'map';
comment on column pgorch.nodes.fast_out is 'Success of this node, or of an item of this map, can be taken in a set, without any bookkeeping.';

update pgorch.nodes n set fast_in = true where n.joins;
comment on column pgorch.nodes.fast_in is 'This node can be entered in a set: a task without a template of arguments, or a join at which one arrives.';

create type pgorch._ended_step as (
    id         bigint,
    token      uuid,
    place      tid,
    map        bigint,
    node       text,
    visit      integer[],
    item       integer,
    attempt    integer,
    started_at timestamptz,
    output     jsonb
);
comment on type pgorch._ended_step is 'A task or item that ended well: where its row is (place), of an item the map''s step, and what its history entry says.';

-- These have other parameters or results now.
drop function if exists pgorch._advance_plain(integer, uuid, bigint[], uuid[], text[], jsonb[], text[], text[], uuid, integer, boolean, timestamptz, timestamptz);
drop function if exists pgorch._start_items(integer, pgorch.runs, pgorch.graphs, pgorch.nodes, pgorch.steps, timestamptz);
drop function if exists pgorch._item_inputs(integer, pgorch.runs, pgorch.graphs, pgorch.nodes, jsonb, jsonb, integer, integer);
drop function if exists pgorch._go_on_with_map(integer, pgorch.runs, bigint, integer, integer, timestamptz);

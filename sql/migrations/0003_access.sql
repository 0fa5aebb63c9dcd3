-- Who may use the HTTP API. A definition table: it is read once in a while, and nothing on the path of a run asks it.

create table pgorch.api_keys (
    id           text primary key check (id ~ '^[0-9a-f]{12}$'),
    principal    text not null,
    roles        text[] not null check (cardinality(roles) > 0),
    secret_hash  bytea not null check (length(secret_hash) = 32),
    created_at   timestamptz not null,
    created_by   text not null,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
comment on table pgorch.api_keys is
    'Keys of the HTTP API. A principal may have several that work at once, so that one can be replaced without a gap.';
comment on column pgorch.api_keys.id is 'The public half of the key pgo_<id>_<secret>.';
comment on column pgorch.api_keys.principal is 'Who the bearer is: the actor of whatever is done with the key.';
comment on column pgorch.api_keys.roles is
    'viewer, operator, approver and admin say what the bearer may do; other names, finance say, are those to whom approvals are assigned.';
comment on column pgorch.api_keys.secret_hash is 'SHA-256 of the secret half, which itself is kept nowhere.';
comment on column pgorch.api_keys.created_at is 'When it was made.';
comment on column pgorch.api_keys.created_by is 'Database user who made it.';
comment on column pgorch.api_keys.expires_at is 'From when on it does not work any more; null: it never expires.';
comment on column pgorch.api_keys.last_used_at is 'When it was last used, to the minute.';
comment on column pgorch.api_keys.revoked_at is 'Since when it does not work any more because somebody said so.';

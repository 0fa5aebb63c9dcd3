-- Where the demo works and publishes. Idempotent: the first step of every run makes sure that it is there.
create schema if not exists penguins;

create table if not exists penguins.working (
    run_id uuid not null,
    row    integer not null,
    bird   jsonb not null,
    primary key (run_id, row)
);
comment on table penguins.working is 'The birds that a run is cleaning: one row per bird.';

create table if not exists penguins.birds (
    id                 text primary key,
    season             text not null,
    species            text not null check (species in ('Adelie', 'Chinstrap', 'Gentoo')),
    island             text not null,
    egg_date           date not null,
    clutch_complete    boolean not null,
    culmen_length_mm   numeric not null,
    culmen_depth_mm    numeric not null,
    flipper_length_mm  integer not null,
    body_mass_g        integer not null,
    sex                text check (sex in ('male', 'female')),
    sex_from           text check (sex_from in ('sample', 'partner')),
    delta_15_n         numeric,
    delta_13_c         numeric,
    comments           text,
    run_id             uuid not null,
    check ((sex is null) = (sex_from is null))
);
comment on table penguins.birds is 'The birds as they were published last.';

create table if not exists penguins.quarantine (
    run_id  uuid primary key,
    at      timestamptz not null default now(),
    quality numeric not null,
    defects jsonb not null,
    birds   jsonb not null
);
comment on table penguins.quarantine is 'Data that was not good enough, or that a person refused, kept for inspection.';

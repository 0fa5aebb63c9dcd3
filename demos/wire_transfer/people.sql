-- carol works in psql. There she is a database user, and her roles are the database's.
create role finance;
create role carol login in role finance;
grant usage on schema pgorch, transfers to carol;
grant select, insert, update, delete on all tables in schema pgorch to carol;
grant select, insert on transfers.book to carol;

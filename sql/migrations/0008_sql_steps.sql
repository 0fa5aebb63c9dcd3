-- SQL steps run in functions that belong to the owners of their graphs, so that they have the owner's rights and no others.

create schema pgorch_sql;
comment on schema pgorch_sql is
    'One function for each role whose graphs have SQL steps, made by create_graph() and owned by that role. To let a role have such graphs: grant create on schema pgorch_sql to it.';

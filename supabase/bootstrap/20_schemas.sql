-- Schemas, the vector extension, and who may look names up in them.
create schema if not exists auth;
create schema if not exists storage;
create schema if not exists extensions;
create schema if not exists app authorization uaol_owner;
alter schema app owner to uaol_owner;

create extension if not exists vector with schema extensions;

grant usage on schema auth, storage, extensions
  to anon, authenticated, service_role, uaol_owner, app_backend;
grant usage on schema app to authenticated, service_role;

-- Migrations run as uaol_owner; "create schema if not exists" asks for this right.
do $$
begin
  execute format('grant create on database %I to uaol_owner', current_database());
end
$$;

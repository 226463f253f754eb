-- Who the caller is, from the claims that the transaction set; without claims all are null.
create or replace function auth.jwt() returns jsonb
language sql stable
as $$
  select nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb
$$;

create or replace function auth.uid() returns uuid
language sql stable
as $$
  select (auth.jwt() operator(pg_catalog.->>) 'sub')::pg_catalog.uuid
$$;

create or replace function auth.role() returns text
language sql stable
as $$
  select auth.jwt() operator(pg_catalog.->>) 'role'
$$;

create or replace function auth.email() returns text
language sql stable
as $$
  select auth.jwt() operator(pg_catalog.->>) 'email'
$$;

comment on function auth.jwt() is 'The claims of the caller, as set for this transaction.';
comment on function auth.uid() is 'The user the caller acts as; null for nobody.';
comment on function auth.role() is 'The role named in the claims.';
comment on function auth.email() is 'The e-mail address named in the claims.';

grant execute on all functions in schema auth
  to anon, authenticated, service_role, uaol_owner, app_backend;

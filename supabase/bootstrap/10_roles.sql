-- Roles of the embedded hub, named as Supabase names them. A second run changes nothing.
do $$
declare
  wanted constant text[][] := array[
    ['anon',          'nologin noinherit nobypassrls'],
    ['authenticated', 'nologin noinherit nobypassrls'],
    ['service_role',  'nologin noinherit bypassrls'],
    ['authenticator', 'login noinherit nobypassrls'],
    ['uaol_owner',    'login inherit nobypassrls'],
    ['app_backend',   'login noinherit nobypassrls']
  ];
  entry text[];
begin
  foreach entry slice 1 in array wanted loop
    if not exists (select from pg_catalog.pg_roles where rolname = entry[1]) then
      execute format('create role %I', entry[1]);
    end if;
    execute format(
      'alter role %I nosuperuser nocreaterole nocreatedb noreplication %s', entry[1], entry[2]
    );
  end loop;
end
$$;

-- The two login roles have no rights of their own: each transaction takes a role on.
grant anon, authenticated, service_role to authenticator with inherit false, set true;
grant anon, authenticated, service_role to app_backend with inherit false, set true;

-- As on Supabase, so that a name which resolves here resolves there.
alter role uaol_owner set search_path = "$user", public, extensions;
alter role app_backend set search_path = "$user", public, extensions;
alter role authenticator set search_path = "$user", public, extensions;

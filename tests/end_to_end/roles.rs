//! Roles: what a backup role may lack, and what of roles comes back.

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;

fn server() -> TestServer {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql(
        "shop",
        "create role owner login password 'hunter2'; create table orders (id serial primary key, what text); \
         insert into orders (what) select 'thing ' || n from generate_series(1, 50) n; alter table orders owner to owner; \
         create table secrets (n int); create role backup login; revoke connect on database shop from public; \
         grant connect on database shop to backup",
    );
    server
}

#[test]
fn a_role_that_only_reads_backs_up_everything() {
    let server = server();
    server.psql("shop", "grant pg_read_all_data to backup");
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &server.url_as("backup", "shop"), "");
    let summary = &lifeboat.json(&["backup", "now"])[0];
    assert_eq!(summary["gaps"].as_array().map(Vec::len), Some(0), "{summary}");
    lifeboat.ok(&["restore-test"]).says(&["PROVEN"]);
    let other = TestServer::start();
    lifeboat.ok(&["restore", "shop", "--to", &other.url("shop")]);
    assert_eq!(other.psql("shop", "select count(*), min(what), pg_get_userbyid(relowner) from orders, pg_class where relname = 'orders' group by 3"), "50|thing 1|owner");
    let password = "select rolpassword from pg_authid where rolname = 'owner'";
    assert_eq!(other.psql("shop", password), server.psql("shop", password));
}

#[test]
fn a_role_that_may_not_read_one_table_is_refused_with_the_grant_to_give() {
    let server = server();
    server.psql("shop", "grant select on orders, orders_id_seq to backup");
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &server.url_as("backup", "shop"), "");
    lifeboat.run(&["backup", "now"]).expect(1).says(&[
        "permission denied for 1 tables: public.secrets",
        "GRANT pg_read_all_data TO",
        "exclude_tables",
    ]);
    lifeboat.ok(&["snapshots"]).says(&["no snapshots"]);
    // Named as left out, it is a gap and no obstacle.
    lifeboat.job("shop", &server.url_as("backup", "shop"), "exclude_tables = ['public.secrets']");
    let gaps = ["table public.secrets", "excluded by the job", "role passwords", "saved without their passwords"];
    lifeboat.ok(&["backup", "now"]).says(&gaps);
    lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
}

#[test]
fn passwords_settings_and_memberships_of_roles_come_back() {
    let server = server();
    server.psql(
        "shop",
        "create role \"the \"\"staff\"\"\" nologin; grant \"the \"\"staff\"\"\" to owner with admin option; \
         alter role owner set work_mem = '7MB'; alter role owner in database shop set search_path = 'a, b'; \
         alter role owner connection limit 5 valid until '2040-01-01'; comment on role owner is 'who; owns'",
    );
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &server.url("shop"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
    let other = TestServer::start();
    lifeboat.ok(&["restore", "shop", "--to", &other.url("shop")]);
    let facts = "
        select rolname, rolpassword, rolcanlogin, rolconnlimit, rolvaliduntil, shobj_description(oid, 'pg_authid')
            from pg_authid where rolname !~ '^pg_' order by 1;
        select setdatabase <> 0, setrole::regrole, setconfig from pg_db_role_setting order by 1, 2;
        select roleid::regrole, member::regrole, admin_option from pg_auth_members where member::regrole::text !~ '^pg_'";
    assert_eq!(other.psql("shop", facts), server.psql("shop", facts));
    assert!(server.psql("shop", facts).contains("SCRAM-SHA-256"));
}
